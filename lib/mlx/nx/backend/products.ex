if Code.ensure_loaded?(Nx) do
  defmodule Mlx.Nx.Backend.Products do
    @moduledoc false
    # Sums of products.

    import Mlx.Nx.Backend.Conversion, only: [cast: 2, shaped: 2, type: 1]
    import Mlx.Nx.Backend.Shape, only: [ordered: 2]

    alias Mlx.{Array, Native, Type}
    alias Mlx.Nx.Backend.{Quantized, QuantizedProducts}
    alias Nx.Tensor

    # How many products of integers are held at once.
    @block 2 ** 22

    @type axes :: [non_neg_integer()]
    @typep factor :: Array.t() | Quantized.t()

    @spec dot(Tensor.t(), factor(), axes(), axes(), factor(), axes(), axes()) :: Array.t()
    def dot(out, left, left_contracted, left_batch, right, right_contracted, right_batch)
        when is_struct(left, Quantized) or is_struct(right, Quantized) do
      QuantizedProducts.dot(out, {left, left_contracted, left_batch}, {right, right_contracted, right_batch})
    end

    def dot(out, left, left_contracted, left_batch, right, right_contracted, right_batch) do
      type = type(out)
      left_free = free(left, left_contracted ++ left_batch)
      right_free = free(right, right_contracted ++ right_batch)
      batch = sizes(left, left_batch)
      length = product(left, left_contracted)

      rows =
        left
        |> cast(type)
        |> ordered(left_batch ++ left_free ++ left_contracted)
        |> shaped(List.to_tuple(batch ++ [product(left, left_free), length]))

      columns =
        right
        |> cast(type)
        |> ordered(right_batch ++ right_contracted ++ right_free)
        |> shaped(List.to_tuple(batch ++ [length, product(right, right_free)]))

      rows |> multiply(columns) |> shaped(out.shape)
    end

    @doc "Products of matrices of one type and one number of axes. MLX multiplies matrices of integers not at all."
    @spec multiply(Array.t(), Array.t()) :: Array.t()
    def multiply(%Array{type: type} = a, %Array{} = b) do
      if Type.fractional?(type), do: Native.matmul(a, b, nil), else: multiply_integers(a, b)
    end

    # All products of as many rows as fit into a block, and their sums.
    defp multiply_integers(%Array{shape: shape, type: type} = a, b) do
      rank = tuple_size(shape)
      rows = elem(shape, rank - 2)
      step = max(div(@block * rows, max(Tuple.product(shape) * elem(b.shape, rank - 1), 1)), 1)
      columns = Native.expand_dims(b, -3, nil)

      0..(rows - 1)//step
      |> Enum.map(fn first ->
        a
        |> rows(first, min(first + step, rows))
        |> Native.expand_dims(-1, nil)
        |> Native.multiply(columns, nil)
        |> Native.sum_axis(-2, false, nil)
        |> cast(type)
      end)
      |> joined(rank - 2)
    end

    defp rows(%Array{shape: shape} = array, first, stop) do
      axis = tuple_size(shape) - 2
      starts = List.duplicate(0, axis) ++ [first, 0]
      stops = shape |> put_elem(axis, stop) |> Tuple.to_list()
      Native.slice(array, starts, stops, Enum.map(stops, fn _ -> 1 end), nil)
    end

    defp joined([array], _axis), do: array
    defp joined(arrays, axis), do: Native.concatenate_axis(arrays, axis, nil)

    defp free(%Array{shape: shape}, used), do: Enum.to_list(0..(tuple_size(shape) - 1)//1) -- used
    defp sizes(%Array{shape: shape}, axes), do: Enum.map(axes, &elem(shape, &1))
    defp product(array, axes), do: array |> sizes(axes) |> Enum.product()
  end
end
