defmodule Mlx.Memory.Claim do
  @moduledoc false
  # What the arguments of `Mlx.Memory.wire/2` and `Mlx.Memory.with_wired/3` ask for.

  alias Mlx.{Device, Native}
  alias Mlx.Arguments.{Given, Options}
  alias Mlx.Memory.Ticket

  @timeout 5_000
  @longest_timeout 0xFFFFFFFF

  # option, whether a value is one, in words
  @options [
    {:policy, &__MODULE__.policy?/1, ":max, :sum or {:fixed, bytes}"},
    {:budget, &__MODULE__.budget?/1, "a number of bytes or :infinity"},
    {:kind, &__MODULE__.kind?/1, ":active or :reserved"},
    {:timeout, &__MODULE__.timeout?/1, "milliseconds or :infinity"}
  ]

  @doc "A ticket that nobody has yet, and how long to wait for it. `function` has its name in `Mlx.Memory`."
  @spec new(non_neg_integer() | :recommended, keyword(), atom()) :: {Ticket.t(), timeout()}
  def new(bytes, options, function) do
    defaults = [policy: :max, budget: nil, group: nil, kind: :active, timeout: @timeout]
    values = Options.without_stream(options, :"Memory.#{function}", defaults)
    claim = defaults |> Keyword.keys() |> Enum.zip(values) |> Map.new()

    for {name, valid?, expected} <- @options, not valid?.(claim[name]) do
      raise ArgumentError,
            "Mlx.Memory.#{function}: expected #{inspect(name)} to be #{expected}, got: #{Given.text(claim[name])}"
    end

    {timeout, claim} = Map.pop!(claim, :timeout)
    budget = claim.budget || budget(claim.policy)
    {struct!(Ticket, Map.merge(claim, %{bytes: bytes(bytes, function), budget: budget})), timeout}
  end

  defp bytes(:recommended, _function), do: recommended() || 0
  defp bytes(bytes, _function) when is_integer(bytes) and bytes >= 0, do: bytes

  defp bytes(other, function) do
    raise ArgumentError,
          "Mlx.Memory.#{function}: expected a number of bytes or :recommended, got: #{Given.text(other)}"
  end

  defp budget({:fixed, bytes}), do: bytes
  defp budget(_policy), do: recommended() || :infinity

  defp recommended do
    if Native.metal_is_available(), do: Device.info(:gpu)["max_recommended_working_set_size"]
  end

  @doc false
  def policy?({:fixed, bytes}), do: is_integer(bytes) and bytes >= 0
  def policy?(policy), do: policy in [:max, :sum]

  @doc false
  def budget?(budget), do: budget in [nil, :infinity] or (is_integer(budget) and budget >= 0)

  @doc false
  def kind?(kind), do: kind in [:active, :reserved]

  @doc false
  def timeout?(timeout), do: timeout == :infinity or timeout in 0..@longest_timeout
end
