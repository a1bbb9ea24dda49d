defmodule Mlx.LM.Decoder.DenseLinear do
  @moduledoc false
  # A linear layer whose matrix has the shape {1, inputs, outputs} and lies in memory row after row: so a CPU multiplies a
  # vector fastest. It takes the place of an Mlx.NN.Linear there.
  #
  # MLX makes {length, width} of an input {1, length, width}, and turns the product back, where the matrix has two axes:
  # three operations for each layer and token in place of one.

  alias Mlx.Array
  alias Mlx.NN.Linear

  @derive Mlx.NN.Layer
  @enforce_keys [:matrix]
  defstruct [:matrix, :bias]

  @type t :: %__MODULE__{matrix: Array.t(), bias: Array.t() | nil}

  @doc "The layer that gives what a linear one gives. The weight of that is given up, unless it is `kept`."
  @spec of(Linear.t(), keyword()) :: t()
  def of(%Linear{weight: weight, bias: bias}, options \\ []) do
    matrix = weight |> Mlx.transpose() |> Mlx.contiguous() |> Mlx.new_axis(0)
    layer = Mlx.eval(%__MODULE__{matrix: matrix, bias: bias})
    if not Keyword.get(options, :kept, false), do: Mlx.deallocate(weight)
    layer
  end

  @spec call(t(), Array.t()) :: Array.t()
  def call(%__MODULE__{matrix: matrix, bias: nil}, x), do: product(x, matrix)
  def call(%__MODULE__{matrix: matrix, bias: bias}, x), do: x |> product(matrix) |> Mlx.add(bias)

  defp product(%Array{shape: {1, _length, _inputs}} = x, matrix), do: Mlx.matmul(x, matrix)
  defp product(x, matrix), do: Mlx.matmul(x, Mlx.squeeze(matrix, axes: [0]))
end
