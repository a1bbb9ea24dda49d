defmodule Mlx.LM.HTTP.Settings do
  @moduledoc false
  # The options of `Mlx.LM.HTTP`, checked, and what requests need of them.

  alias Mlx.Arguments.{CalledFunction, Given, Options}
  alias Mlx.LM.{Embedder, Ranker}
  alias Mlx.LM.Sampler.OptionTable

  @table [
    models: {[], :any},
    embedders: {[], :any},
    rankers: {[], :any},
    port: {8080, {:integer, 0, 65_535}},
    ip: {{127, 0, 0, 1}, :any},
    keys: {[], :any},
    origins: {[], :any},
    hosts: {[], :strings},
    defaults: {[], :any},
    max_body: {8_000_000, {:integer, 1, nil}},
    max_header: {16_384, {:integer, 256, nil}},
    header_timeout: {10_000, {:integer, 1, nil}},
    body_timeout: {30_000, {:integer, 1, nil}},
    idle_timeout: {60_000, {:integer, 1, nil}},
    send_timeout: {30_000, {:integer, 1, nil}},
    time_limit: {600_000, {:integer, 1, 0xFFFFFFFF}},
    heartbeat: {15_000, {:integer, 1, nil}},
    max_connections: {1024, {:integer, 1, 100_000}},
    drain: {5000, {:integer, 0, nil}},
    page: {true, :boolean},
    name: {nil, :any}
  ]

  # What a plug has of them: the others are the matter of the web server.
  @of_connections [:port, :ip, :max_header, :header_timeout, :body_timeout, :idle_timeout, :send_timeout] ++
                    [:max_connections, :drain, :name]

  @enforce_keys Keyword.keys(@table) ++ [:counters]
  defstruct @enforce_keys ++ [loopback: true]

  @type t :: %__MODULE__{}

  @doc "The options of connections, which a plug does not take."
  @spec of_connections() :: [atom()]
  def of_connections, do: @of_connections

  @doc "The settings of options. Raises `ArgumentError` in the name of `function`."
  @spec new!(keyword(), atom()) :: t()
  def new!(options, function) do
    options = Options.complete(options, function, OptionTable.defaults(@table))

    CalledFunction.name("Mlx.#{function}", fn ->
      OptionTable.check!(@table, options)
      settings = struct!(__MODULE__, [counters: nil] ++ options)

      check!(
        :origins,
        "a list of strings, or :any",
        settings.origins,
        settings.origins == :any or strings?(settings.origins)
      )

      words = "a list of strings that are not empty, or of {:sha256, digest}"
      check!(:keys, words, settings.keys, is_list(settings.keys) and Enum.all?(settings.keys, &key?/1))
      check!(:defaults, "a keyword list", settings.defaults, Keyword.keyword?(settings.defaults))

      %{
        settings
        | ip: address!(settings.ip),
          keys: Enum.map(settings.keys, &digest/1),
          models: named!(:models, settings.models, fn _server -> true end, "servers (Mlx.LM.Server)"),
          embedders: named!(:embedders, settings.embedders, &is_struct(&1, Embedder), "Mlx.LM.Embedder"),
          rankers: named!(:rankers, settings.rankers, &is_struct(&1, Ranker), "Mlx.LM.Ranker")
      }
    end)
  end

  defp key?({:sha256, digest}), do: is_binary(digest) and byte_size(digest) == 32
  defp key?(key), do: is_binary(key) and key != ""

  @doc "A key as it is compared, and as it may be in a log."
  @spec digest(String.t() | {:sha256, binary()}) :: {:sha256, binary()}
  def digest({:sha256, digest}), do: {:sha256, digest}
  def digest(key), do: {:sha256, :crypto.hash(:sha256, key)}

  defp strings?(list), do: is_list(list) and Enum.all?(list, &is_binary/1)

  defp check!(_name, _expected, _value, true), do: :ok

  defp check!(name, expected, value, false),
    do: raise(ArgumentError, "expected #{inspect(name)} to be #{expected}, got: #{Given.text(value)}")

  # Names of servers are found when they are asked for: the servers may start later.
  defp named!(option, list, right?, what) do
    pairs =
      for entry <- if(is_list(list), do: list, else: [:wrong]) do
        case entry do
          {name, value} when is_binary(name) -> {name, value}
          %{name: name} = value -> {name, value}
          value -> {nil, value}
        end
      end

    check!(
      option,
      "a list of #{what}, or of {name, value}",
      list,
      is_list(list) and Enum.all?(pairs, &right?.(elem(&1, 1)))
    )

    pairs
  end

  defp address!(ip) when is_tuple(ip), do: address!(ip, :inet.ntoa(ip) != {:error, :einval} && ip)

  defp address!(ip) when is_binary(ip) do
    case :inet.parse_address(String.to_charlist(ip)) do
      {:ok, address} -> address
      {:error, _reason} -> address!(ip, false)
    end
  end

  defp address!(ip), do: address!(ip, false)

  defp address!(given, address) do
    check!(:ip, "an address, such as {127, 0, 0, 1} or \"127.0.0.1\"", given, address != false)
    address
  end

  @doc "Whether an address is one that only this machine reaches."
  @spec loopback?(:inet.ip_address()) :: boolean()
  def loopback?({127, _, _, _}), do: true
  def loopback?({0, 0, 0, 0, 0, 0, 0, 1}), do: true
  def loopback?(_other), do: false
end
