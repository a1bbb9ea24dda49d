defmodule Mlx.Hub.Address do
  @moduledoc false
  # Addresses: those of the Hub's interface, where a redirect leads, and by which proxy one is reached.

  alias Mlx.Hub.Settings

  @doc "The address of what the Hub knows of a revision."
  @spec revision(Settings.t(), String.t(), String.t()) :: String.t()
  def revision(settings, repository, revision),
    do: "#{settings.endpoint}/api/models/#{repository}/revision/#{segment(revision)}"

  @doc "The address of the list of all files of a commit."
  @spec tree(Settings.t(), String.t(), String.t()) :: String.t()
  def tree(settings, repository, commit),
    do: "#{settings.endpoint}/api/models/#{repository}/tree/#{segment(commit)}?recursive=true&expand=false"

  @doc "The address of a file."
  @spec file(Settings.t(), String.t(), String.t(), String.t()) :: String.t()
  def file(settings, repository, revision, path) do
    segments = path |> String.split("/") |> Enum.map_join("/", &segment/1)
    "#{settings.endpoint}/#{repository}/resolve/#{segment(revision)}/#{segments}"
  end

  defp segment(text), do: URI.encode(text, &URI.char_unreserved?/1)

  @doc "Whether two addresses are of the same server."
  @spec same_origin?(String.t(), String.t()) :: boolean()
  def same_origin?(one, other), do: origin(one) == origin(other)

  defp origin(address) do
    uri = URI.parse(address)
    {uri.scheme, String.downcase(uri.host || ""), uri.port}
  end

  @doc "The address that `location` means in an answer of `address`, or why it is not followed."
  @spec redirected(String.t(), String.t()) :: {:ok, String.t()} | {:error, String.t()}
  def redirected(address, location) do
    with {:ok, target} <- URI.new(visible(location)),
         %URI{} = merged <- URI.merge(address, target),
         :ok <- followed(URI.parse(address).scheme, merged) do
      {:ok, URI.to_string(%{merged | fragment: nil, userinfo: nil})}
    else
      {:not_followed, why} -> {:error, why}
      {:error, _part} -> {:error, "to an address that cannot be read"}
    end
  end

  @doc "A text of an address in characters that an address may have."
  @spec visible(String.t()) :: String.t()
  def visible(text), do: URI.encode(text, &(&1 in 0x21..0x7E))

  defp followed("https", %URI{scheme: "http"}), do: {:not_followed, "from https to http"}

  defp followed(_from, %URI{scheme: scheme, host: host}) when scheme in ["http", "https"] and host not in [nil, ""],
    do: :ok

  defp followed(_from, %URI{scheme: scheme}), do: {:not_followed, "to an address of the scheme #{inspect(scheme)}"}

  @doc "An address without its query, which may hold a signature, for messages."
  @spec shown(String.t()) :: String.t()
  def shown(address), do: address |> String.split("?") |> hd()

  @doc "The proxy of an address as its host, port and the text of its user, by `HTTP_PROXY`, `HTTPS_PROXY`, `ALL_PROXY` and `NO_PROXY`."
  @spec proxy(String.t()) :: {String.t(), :inet.port_number(), String.t() | nil} | nil
  def proxy(address) do
    %URI{scheme: scheme, host: host, port: port} = URI.parse(address)
    value = either("#{scheme}_proxy") || either("all_proxy")
    if value != nil and not excepted?(host, port), do: read_proxy!(value, scheme)
  end

  # The name in small letters counts first, as it does for curl and Python.
  defp either(name), do: Settings.variable(name) || Settings.variable(String.upcase(name))

  defp read_proxy!(value, scheme) do
    case URI.new(visible(if(value =~ "://", do: value, else: "http://" <> value))) do
      {:ok, %URI{scheme: "http", host: host, port: port, userinfo: user}} when host not in [nil, ""] ->
        {host, port, user}

      _other ->
        raise ArgumentError,
              "expected the environment variable #{String.upcase(scheme)}_PROXY to be an address such as http://host:8080"
    end
  end

  defp excepted?(host, port) do
    host = String.downcase(host)

    (either("no_proxy") || "")
    |> String.downcase()
    |> String.split([",", " "], trim: true)
    |> Enum.any?(fn entry ->
      suffix = entry |> String.trim_leading("*") |> String.trim_leading(".")

      entry == "*" or host == suffix or "#{host}:#{port}" == suffix or
        (suffix != "" and String.ends_with?(host, "." <> suffix))
    end)
  end
end
