defmodule Mlx.NN.Affine do
  @moduledoc false
  # The weight and bias of normalisations: `weight * x + bias`, or neither.

  alias Mlx.Array

  @doc "Ones and zeros, or nils."
  @spec new(as_boolean(term()), pos_integer()) :: {Array.t(), Array.t()} | {nil, nil}
  def new(affine, size), do: if(affine, do: {Mlx.ones({size}), Mlx.zeros({size})}, else: {nil, nil})

  @doc "The array with weight and bias, if there are any."
  @spec apply(Array.t(), Array.t() | nil, Array.t() | nil) :: Array.t()
  def apply(x, nil, nil), do: x
  def apply(x, weight, bias), do: weight |> Mlx.multiply(x) |> Mlx.add(bias)
end
