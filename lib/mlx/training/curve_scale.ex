defmodule Mlx.Training.CurveScale do
  @moduledoc false
  # Where points lie between the least and the greatest of all curves.

  @enforce_keys [:steps, :values]
  defstruct @enforce_keys

  @type range :: {number(), number()}
  @type t :: %__MODULE__{steps: range(), values: range()}

  @doc "The ranges of the steps and values of curves."
  @spec of([{atom(), [{number(), number()}]}]) :: t()
  def of(curves) do
    points = Enum.flat_map(curves, fn {_name, points} -> points end)
    {steps, values} = Enum.unzip(points)
    %__MODULE__{steps: range(steps), values: range(values)}
  end

  defp range([]), do: {0, 1}
  defp range(numbers), do: Enum.min_max(numbers)

  @doc "Where a number lies in a range, from 0 to 1; in the middle of one without extent."
  @spec place(number(), range()) :: float()
  def place(_number, {least, least}), do: 0.5
  def place(number, {least, greatest}), do: (number - least) / (greatest - least)

  @doc "A value in three digits behind the point, or as a power of ten where these would not show it."
  @spec text(number()) :: String.t()
  def text(value) when value == 0, do: "0.000"

  def text(value) when abs(value) >= 0.01 and abs(value) < 100_000,
    do: :erlang.float_to_binary(value * 1.0, decimals: 3)

  def text(value), do: :erlang.float_to_binary(value * 1.0, [{:scientific, 2}])
end
