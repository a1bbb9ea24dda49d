defmodule Mlx.NN.QuantizedMatrix do
  @moduledoc false
  # The matrix of quantized layers: fields `weight`, `scales` and `biases`, packed with `group_size`, `bits` and `mode`.

  alias Mlx.Array
  alias Mlx.Arguments.Options

  # mode, group size and bits that it has by default
  @modes [affine: {64, 4}, mxfp4: {32, 4}, mxfp8: {32, 8}, nvfp4: {16, 4}]

  @doc "The options of quantization, for a function of `Mlx`, with their defaults."
  @spec options(keyword(), atom(), keyword()) :: keyword()
  def options(options, function, others \\ []) do
    settings = Options.complete(options, function, [group_size: nil, bits: nil, mode: :affine] ++ others)
    {group_size, bits} = defaults!(settings[:mode], function)

    settings
    |> Keyword.update!(:group_size, &(&1 || group_size))
    |> Keyword.update!(:bits, &(&1 || bits))
  end

  defp defaults!(mode, function) do
    with nil <- is_atom(mode) && @modes[mode] do
      raise ArgumentError,
            "Mlx.#{function}: expected :mode to be one of #{inspect(Keyword.keys(@modes))}, got: #{inspect(mode)}"
    end
  end

  @doc "The fields of a quantized layer for a matrix `{outputs, inputs}`."
  @spec fields(Array.t(), keyword()) :: keyword()
  def fields(matrix, settings) do
    settings = Keyword.take(settings, [:group_size, :bits, :mode])

    case Mlx.quantize(matrix, settings) do
      {weight, scales, biases} -> [weight: weight, scales: scales, biases: biases] ++ settings
      {weight, scales} -> [weight: weight, scales: scales, biases: nil] ++ settings
    end
  end

  @doc "The product of `x` with the transposed matrix of a layer."
  @spec multiply(struct(), Array.t()) :: Array.t()
  def multiply(%{weight: weight, scales: scales, biases: biases} = layer, x) do
    Mlx.quantized_matmul(x, weight, scales, biases, packing(layer))
  end

  @doc "The rows of the matrix of a layer at some indices."
  @spec rows(struct(), Array.t()) :: Array.t()
  def rows(%{weight: weight, scales: scales, biases: biases} = layer, indices) do
    [weight, scales, biases] = for array <- [weight, scales, biases], do: array && Mlx.take(array, indices, axis: 0)
    Mlx.dequantize(weight, scales, biases, packing(layer))
  end

  @doc "How many columns the matrix of a layer has."
  @spec columns(struct()) :: pos_integer()
  def columns(%{weight: weight, bits: bits}), do: div(elem(weight.shape, 1) * 32, bits)

  @doc "How the matrix of a layer is packed."
  @spec packing(struct()) :: keyword()
  def packing(%{group_size: group_size, bits: bits, mode: mode}), do: [group_size: group_size, bits: bits, mode: mode]
end
