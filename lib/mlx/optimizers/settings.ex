defmodule Mlx.Optimizers.Settings do
  @moduledoc false
  # The options of optimizers.

  alias Mlx.Array
  alias Mlx.Arguments.{CalledFunction, Given, OptionKinds, Options}

  @doc "The options with their defaults, which are of their kinds. A learning rate has none where it has to be given."
  @spec defaults(OptionKinds.t()) :: keyword()
  def defaults(settings) do
    defaults = OptionKinds.defaults(settings)
    settings |> Enum.reject(&match?({_name, {nil, :rate}}, &1)) |> OptionKinds.check!(defaults, "")
    defaults
  end

  @doc "The struct of an optimizer, for the function `new` of its module."
  @spec struct!(module(), OptionKinds.t(), term(), keyword()) :: struct()
  def struct!(module, settings, learning_rate, options) do
    CalledFunction.name("#{inspect(module)}.new", fn ->
      values = Options.complete(options, :new, settings |> defaults() |> Keyword.delete(:learning_rate))
      values = [learning_rate: learning_rate] ++ values
      OptionKinds.check!(settings, values, "")
      struct!(module, values)
    end)
  end

  @doc "The array of a learning rate, which is a number or what a schedule returned."
  @spec scalar!(term()) :: Array.t()
  def scalar!(number) when is_number(number), do: Mlx.array(number)
  def scalar!(%Array{shape: {}} = array), do: array

  def scalar!(other) do
    raise ArgumentError,
          "Mlx.Optimizers: expected a learning rate that is a number or a scalar array, got: #{Given.text(other)}"
  end
end
