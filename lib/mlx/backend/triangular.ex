if Code.ensure_loaded?(Nx) do
  defmodule Mlx.Backend.Triangular do
    @moduledoc false
    # Systems of linear equations whose matrices are triangular.

    import Mlx.Backend.Conversion, only: [cast: 2, shaped: 2, type: 1]
    import Mlx.Backend.Factorization, only: [computable: 1]

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

    # Row after row: what is known already goes to the right side.
    defp substitute(%Array{shape: shape} = a, b, lower) do
      size = elem(shape, tuple_size(shape) - 1)
      order = if lower, do: Enum.to_list(0..(size - 1)), else: Enum.to_list((size - 1)..0//-1)

      rows =
        Enum.reduce(order, %{}, fn row, solved ->
          right = Enum.reduce(solved, part(b, row, nil), &eliminate(&1, &2, a, row))
          Map.put(solved, row, Native.divide(right, part(a, row, row), nil))
        end)

      Native.concatenate_axis(for(row <- 0..(size - 1), do: rows[row]), tuple_size(shape) - 2, nil)
    end

    defp eliminate({column, known}, right, a, row) do
      Native.subtract(right, Native.multiply(part(a, row, column), known, nil), nil)
    end

    # A row, or the element of a row in a column, with both axes kept.
    defp part(%Array{shape: shape} = matrices, row, column) do
      rank = tuple_size(shape)
      {before, [_rows, columns]} = shape |> Tuple.to_list() |> Enum.split(rank - 2)
      {first, stop} = if column, do: {column, column + 1}, else: {0, columns}
      starts = Enum.map(before, fn _ -> 0 end) ++ [row, first]
      Native.slice(matrices, starts, before ++ [row + 1, stop], List.duplicate(1, rank), nil)
    end
  end
end
