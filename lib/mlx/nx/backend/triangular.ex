if Code.ensure_loaded?(Nx) do
  defmodule Mlx.Nx.Backend.Triangular do
    @moduledoc false
    # Systems of linear equations whose matrices are triangular.

    import Mlx.Nx.Backend.Conversion, only: [cast: 2, shaped: 2, type: 1]
    import Mlx.Nx.Backend.Factorization, only: [computable: 1]

    alias Mlx.{Array, Native}
    alias Nx.Tensor

    @spec triangular_solve(Tensor.t(), Array.t(), Array.t(), keyword()) :: Array.t()
    def triangular_solve(out, a, b, options) do
      type = type(out)
      vectors = tuple_size(a.shape) > tuple_size(b.shape)
      {a, lower} = transformed(cast(a, type), options[:lower], options[:transform_a])
      b = if vectors, do: Native.expand_dims(cast(b, type), -1, nil), else: cast(b, type)

      a
      |> solve_side(b, lower, options[:left_side], vectors)
      |> shaped(out.shape)
    end

    defp solve_side(a, b, lower, true, _vectors), do: solve(a, b, lower)
    defp solve_side(a, b, lower, false, true), do: a |> transposed() |> solve(b, not lower)
    defp solve_side(a, b, lower, false, false), do: a |> solve_side(transposed(b), lower, false, true) |> transposed()

    defp transformed(a, lower, :none), do: {a, lower}
    defp transformed(%Array{type: :c64} = a, lower, :conjugate), do: {Native.conjugate(a, nil), lower}
    defp transformed(a, lower, :conjugate), do: {a, lower}
    defp transformed(a, lower, :transpose), do: {transposed(a), not lower}

    defp transposed(matrices), do: Native.swapaxes(matrices, -1, -2, nil)

    # MLX multiplies with the inverse, and has none of complex matrices.
    defp solve(%Array{type: :c64} = a, b, lower), do: substitute(a, b, lower)

    defp solve(a, b, lower) do
      Native.linalg_solve_triangular(computable(a), computable(b), not lower, Mlx.Linalg.stream([]))
    end

    # Row after row, each of which leaves the right side of the others.
    defp substitute(%Array{shape: shape} = a, b, lower) do
      axis = tuple_size(shape) - 2
      size = elem(shape, axis)
      order = if lower, do: 0..(size - 1)//1, else: (size - 1)..0//-1

      {rows, _rest} =
        Enum.map_reduce(order, b, fn index, rest ->
          column = part(a, axis + 1, index)
          row = rest |> part(axis, index) |> Native.divide(part(column, axis, index), nil)
          {row, Native.subtract(rest, Native.multiply(column, row, nil), nil)}
        end)

      Native.concatenate_axis(if(lower, do: rows, else: Enum.reverse(rows)), axis, nil)
    end

    # One row or column.
    defp part(%Array{shape: shape} = matrices, axis, index) do
      sizes = Tuple.to_list(shape)
      starts = sizes |> Enum.map(fn _ -> 0 end) |> List.replace_at(axis, index)
      Native.slice(matrices, starts, List.replace_at(sizes, axis, index + 1), Enum.map(sizes, fn _ -> 1 end), nil)
    end
  end
end
