defmodule Mlx.Optimizers.Settings do
  @moduledoc false
  # The options of optimizers: `name: {default, kind}`.

  alias Mlx.Array
  alias Mlx.Arguments.{CalledFunction, Given, Options}

  @type kind :: atom() | {kind(), kind()} | {:optional, kind()}
  @type t :: [{atom(), {default :: term(), kind()}}]

  # kind, whether a term is of it, in words
  @kinds [
    {:number, &is_number/1, "a number"},
    {:not_negative, &__MODULE__.not_negative?/1, "a number of at least 0"},
    {:positive, &__MODULE__.positive?/1, "a number above 0"},
    {:fraction, &__MODULE__.fraction?/1, "a number of at least 0 and below 1"},
    {:count, &__MODULE__.count?/1, "an integer of at least 0"},
    {:boolean, &is_boolean/1, "true or false"},
    {:rate, &__MODULE__.rate?/1, "a number, a scalar array, or a schedule, which is a function of the step"}
  ]

  @doc "The options with their defaults, which are of their kinds. A learning rate has none where it has to be given."
  @spec defaults(t()) :: keyword()
  def defaults(settings) do
    for {name, {default, kind}} <- settings do
      if {default, kind} != {nil, :rate}, do: check!(name, default, kind)
      {name, default}
    end
  end

  @doc "The struct of an optimizer, for the function `new` of its module."
  @spec struct!(module(), t(), term(), keyword()) :: struct()
  def struct!(module, settings, learning_rate, options) do
    CalledFunction.name("#{inspect(module)}.new", fn ->
      values = Options.complete(options, :new, settings |> defaults() |> Keyword.delete(:learning_rate))
      values = [learning_rate: learning_rate] ++ values
      for {name, {_default, kind}} <- settings, do: check!(name, values[name], kind)
      struct!(module, values)
    end)
  end

  defp check!(name, value, kind) do
    if not of?(value, kind) do
      raise ArgumentError, "expected #{inspect(name)} to be #{words(kind)}, got: #{Given.text(value)}"
    end
  end

  defp of?(nil, {:optional, _kind}), do: true
  defp of?(value, {:optional, kind}), do: of?(value, kind)
  defp of?({a, b}, {kind_a, kind_b}), do: of?(a, kind_a) and of?(b, kind_b)
  defp of?(_value, {_kind_a, _kind_b}), do: false
  defp of?(value, kind), do: kind |> kind!() |> elem(1) |> apply([value])

  defp words({:optional, kind}), do: "#{words(kind)}, or nil"
  defp words({kind, kind}), do: "a tuple of two, each #{words(kind)}"
  defp words({kind_a, kind_b}), do: "a tuple of #{words(kind_a)} and #{words(kind_b)}"
  defp words(kind), do: kind |> kind!() |> elem(2)

  defp kind!(kind) do
    List.keyfind(@kinds, kind, 0) ||
      raise ArgumentError,
            "Mlx.Optimizers.PerParameter: expected an option to be of a kind such as :number, got: #{inspect(kind)}"
  end

  @doc "The array of a learning rate, which is a number or what a schedule returned."
  @spec scalar!(term()) :: Array.t()
  def scalar!(number) when is_number(number), do: Mlx.array(number)
  def scalar!(%Array{shape: {}} = array), do: array

  def scalar!(other) do
    raise ArgumentError,
          "Mlx.Optimizers: expected a learning rate that is a number or a scalar array, got: #{Given.text(other)}"
  end

  @doc false
  def not_negative?(term), do: is_number(term) and term >= 0

  @doc false
  def positive?(term), do: is_number(term) and term > 0

  @doc false
  def fraction?(term), do: not_negative?(term) and term < 1

  @doc false
  def count?(term), do: is_integer(term) and term >= 0

  @doc false
  def rate?(term), do: is_number(term) or is_function(term, 1) or match?(%Array{shape: {}}, term)
end
