defmodule Mlx.NN.Residual do
  @moduledoc false
  # What the layers of transformers are made of: blocks whose output is added to their input, with a normalisation before
  # the block or after the sum.

  import Mlx.NN, only: [forward: 2]

  alias Mlx.Array

  @doc "The sum of `x` and `block.(x)`, of which `norm` normalises the input of the block first, or the sum."
  @spec add(Array.t(), struct(), boolean(), (Array.t() -> Array.t())) :: Array.t()
  def add(x, norm, true, block), do: Mlx.add(x, x |> forward(norm) |> block.())
  def add(x, norm, false, block), do: x |> Mlx.add(block.(x)) |> forward(norm)

  @doc "The block of two linear layers with an activation and a dropout in between."
  @spec perceptron(struct(), struct()) :: (Array.t() -> Array.t())
  def perceptron(%{linear1: first, linear2: second, activation: activation}, dropout) do
    &(&1 |> forward(first) |> activation.() |> forward(dropout) |> forward(second))
  end
end
