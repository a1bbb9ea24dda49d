defmodule Mlx.LM.Decoder.DenseLinear do
  @moduledoc false
  # A linear layer whose matrix has the shape {inputs, outputs} and lies in memory row after row: so a CPU multiplies a
  # vector fastest. It takes the place of an Mlx.NN.Linear there.

  alias Mlx.Array
  alias Mlx.NN.Linear

  @derive Mlx.NN.Layer
  @enforce_keys [:matrix]
  defstruct [:matrix, :bias]

  @type t :: %__MODULE__{matrix: Array.t(), bias: Array.t() | nil}

  @doc "The layer that gives what a linear one gives. The weight of that is given up, unless it is `kept`."
  @spec of(Linear.t(), keyword()) :: t()
  def of(%Linear{weight: weight, bias: bias}, options \\ []) do
    layer = Mlx.eval(%__MODULE__{matrix: weight |> Mlx.transpose() |> Mlx.contiguous(), bias: bias})
    if not Keyword.get(options, :kept, false), do: Mlx.deallocate(weight)
    layer
  end

  @spec call(t(), Array.t()) :: Array.t()
  def call(%__MODULE__{matrix: matrix, bias: nil}, x), do: Mlx.matmul(x, matrix)
  def call(%__MODULE__{matrix: matrix, bias: bias}, x), do: x |> Mlx.matmul(matrix) |> Mlx.add(bias)
end
