if Code.ensure_loaded?(Nx) do
  defmodule Mlx.Nx.Backend.QuantizedProducts do
    @moduledoc false
    # Sums of products with a quantized tensor, without unpacking it where MLX has an operation for that.
    #
    # MLX multiplies by matrices that are packed along their rows, and by the transposes of such ones. So the packed axis has
    # to be one that is summed over, or the last of those that stay. The others are put in the order that this takes and made
    # one axis, for which only packed numbers are moved.

    import Mlx.Nx.Backend.Conversion, only: [cast: 2, shaped: 2, type: 1]
    import Mlx.Nx.Backend.Shape, only: [ordered: 2]

    alias Mlx.Array
    alias Mlx.Nx.Backend.{Products, Quantized}
    alias Nx.Tensor

    @typep factor :: {Array.t() | Quantized.t(), contracted :: Products.axes(), batch :: Products.axes()}

    @doc "The product of two factors, at least one of which is quantized."
    @spec dot(Tensor.t(), factor(), factor()) :: Array.t()
    def dot(out, {%Quantized{}, _, _} = left, {%Quantized{}, _, _} = right), do: dot(out, unpacked(left), right)

    def dot(out, {%Quantized{}, _, batch} = left, right) do
      sizes = sizes(left, batch) ++ sizes(right, free(right)) ++ sizes(left, free(left))
      product = dot(%{out | shape: List.to_tuple(sizes)}, right, left)
      {batch, axes} = Enum.split(Enum.to_list(0..(length(sizes) - 1)//1), length(batch))
      {right, left} = Enum.split(axes, length(free(right)))
      ordered(product, batch ++ left ++ right)
    end

    def dot(out, left, {%Quantized{axis: axis} = quantized, contracted, _batch} = right) do
      summed? = axis in contracted

      if packed?(out, quantized) and (summed? or List.last(free(right)) == axis),
        do: left |> multiply(right, summed?, type(out)) |> shaped(out.shape),
        else: dense(out, left, unpacked(right))
    end

    # Numbers that have been rounded to another type than they were packed in are that wherever they count.
    defp packed?(%Tensor{type: type} = out, %Quantized{} = quantized),
      do: Quantized.type?(type) and (quantized.type == quantized.source or quantized.type == type(out))

    defp unpacked({quantized, contracted, batch}), do: {Quantized.dequantize(quantized), contracted, batch}

    defp dense(out, {left, left_contracted, left_batch}, {right, right_contracted, right_batch}),
      do: Products.dot(out, left, left_contracted, left_batch, right, right_contracted, right_batch)

    # Sums may be taken in any order: the packed axis comes last.
    defp multiply({array, left_summed, left_batch} = left, {quantized, summed, batch} = right, summed?, type) do
      {left_summed, summed} =
        left_summed |> Enum.zip(summed) |> Enum.sort_by(fn {_, axis} -> axis == quantized.axis end) |> Enum.unzip()

      {rows, columns} = if summed?, do: {free(right), summed}, else: {summed, free(right)}
      sizes = sizes(left, left_batch)
      matrix = &matrix(&1, sizes ++ [Enum.product(sizes(right, rows))])

      [weights, scales | biases] =
        (quantized |> Quantized.ordered(batch ++ rows ++ columns) |> Quantized.map(matrix)).arrays

      array
      |> cast(type)
      |> ordered(left_batch ++ free(left) ++ left_summed)
      |> matrix(sizes ++ [Enum.product(sizes(left, free(left)))])
      |> Mlx.quantized_matmul(weights, scales, List.first(biases), [transpose: summed?] ++ Quantized.options(quantized))
    end

    # Axes of these sizes, and one of what is left.
    defp matrix(%Array{shape: shape} = array, sizes),
      do: shaped(array, List.to_tuple(sizes ++ [div(Tuple.product(shape), Enum.product(sizes))]))

    defp free({_, contracted, batch} = factor),
      do: (Enum.to_list(0..(tuple_size(shape(factor)) - 1)//1) -- contracted) -- batch

    defp sizes(factor, axes), do: Enum.map(axes, &elem(shape(factor), &1))

    defp shape({%Quantized{} = quantized, _, _}), do: Quantized.shape(quantized)
    defp shape({%Array{shape: shape}, _, _}), do: shape
  end
end
