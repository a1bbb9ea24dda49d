defmodule Mlx.NN.Projection do
  @moduledoc false
  # The product that layers make of their inputs and a matrix with a row for each output.

  alias Mlx.Array

  @doc "`x @ transpose(weight) + bias`, for inputs `{..., inputs}` and a weight `{outputs, inputs}`."
  @spec apply(Array.t(), Array.t(), Array.t() | nil) :: Array.t()
  def apply(x, weight, nil), do: Mlx.matmul(x, Mlx.transpose(weight))
  def apply(x, weight, bias), do: Mlx.addmm(bias, x, Mlx.transpose(weight))
end
