defmodule Mlx.LM.Linear do
  @moduledoc """
  A linear layer: `y = x W' + b`, with a quantized or a dense matrix `W` of the shape `{outputs, inputs}` (see
  `Mlx.LM.Weights`).
  """

  alias Mlx.Array
  alias Mlx.LM.Weights

  @enforce_keys [:matrix]
  defstruct [:matrix, :bias]

  @type t :: %__MODULE__{matrix: Weights.matrix(), bias: Array.t() | nil}

  @doc """
  A layer from the tensors `name.weight` (and `name.bias`) of a file.

  Of several names it makes one layer, whose outputs are theirs one after the other: one large product is faster than
  several small ones.
  """
  @spec new(Weights.t(), String.t() | [String.t()]) :: t()
  def new(%Weights{} = weights, names) do
    names = List.wrap(names)
    matrix = names |> Enum.map(&Weights.matrix!(weights, &1)) |> Weights.stack() |> in_form(weights.form)
    Mlx.eval(%__MODULE__{matrix: matrix, bias: bias(weights, names)})
  end

  @doc "The outputs `{..., outputs}` for `x` of the shape `{..., inputs}`."
  @spec call(t(), Array.t()) :: Array.t()
  def call(%__MODULE__{matrix: matrix, bias: nil}, x), do: product(x, matrix)
  def call(%__MODULE__{matrix: matrix, bias: bias}, x), do: x |> product(matrix) |> Mlx.add(bias)

  # A dense matrix is kept with the shape {inputs, outputs}.
  defp product(x, %Array{} = transposed), do: Mlx.matmul(x, transposed)

  defp product(x, %{weights: weights, scales: scales, biases: biases, group_size: group_size, bits: bits}) do
    Mlx.quantized_matmul(x, weights, scales, biases, group_size: group_size, bits: bits)
  end

  defp in_form(matrix, :dense), do: transposed(Weights.dense(matrix))
  defp in_form(%Array{} = matrix, :quantized), do: transposed(matrix)
  defp in_form(matrix, :quantized), do: matrix

  # It lies in memory row after row on a CPU, and column after column on a GPU: so the device multiplies a vector fastest.
  defp transposed(matrix) do
    transposed = Mlx.transpose(matrix)
    if Mlx.Device.default() == :cpu, do: Mlx.contiguous(transposed), else: transposed
  end

  defp bias(weights, names) do
    if Enum.any?(names, &Weights.has?(weights, "#{&1}.bias")) do
      names |> Enum.map(&Weights.tensor!(weights, "#{&1}.bias")) |> Mlx.concatenate()
    end
  end
end
