defmodule Mlx.LM.Decoder.KeyRounding do
  @moduledoc false
  # Keys and values that are rounded to whole numbers of a step, of 8 bits.

  alias Mlx.Array

  @enforce_keys [:keys, :values]
  defstruct @enforce_keys

  @type t :: %__MODULE__{keys: Array.t(), values: Array.t()}

  @doc "A rounding with zeros for its two steps."
  @spec new() :: t()
  def new, do: %__MODULE__{keys: Mlx.zeros({}), values: Mlx.zeros({})}

  @doc "The rounded keys and values."
  @spec call(t() | nil, Array.t(), Array.t()) :: {Array.t(), Array.t()}
  def call(nil, keys, values), do: {keys, values}
  def call(%__MODULE__{} = layer, keys, values), do: {rounded(keys, layer.keys), rounded(values, layer.values)}

  defp rounded(%Array{type: type} = x, step) do
    step = Mlx.as_type(step, :f32)
    whole = x |> Mlx.as_type(:f32) |> Mlx.divide(step) |> Mlx.round() |> Mlx.clip(-128, 127)
    whole |> Mlx.multiply(step) |> Mlx.as_type(type)
  end
end
