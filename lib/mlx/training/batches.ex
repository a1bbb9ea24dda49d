defmodule Mlx.Training.Batches do
  @moduledoc false
  # Rows of arrays, some at a time.

  alias Mlx.{Array, Random, Tree}

  @doc "How many rows the arrays of a container have. `function` raises unless it is the same number for all."
  @spec rows!(Tree.t(), String.t(), String.t()) :: non_neg_integer()
  def rows!(container, function \\ "Mlx.Training.batches", why \\ "") do
    case container |> Tree.arrays() |> Enum.map(&rows/1) |> Enum.uniq() do
      [rows] when rows != nil ->
        rows

      [] ->
        raise ArgumentError, "#{function}: expected a container of arrays#{why}, got one without"

      _others ->
        shapes = container |> Tree.arrays() |> Enum.map_join(", ", &inspect(&1.shape))

        raise ArgumentError,
              "#{function}: expected arrays with a first axis of the same size#{why}, got the shapes #{shapes}"
    end
  end

  defp rows(%Array{shape: shape}) when tuple_size(shape) > 0, do: elem(shape, 0)
  defp rows(_scalar), do: nil

  @doc "A stream of containers with so many rows. Their order is made anew when the stream is gone through."
  @spec stream(Tree.t(), pos_integer(), pos_integer(), boolean(), boolean()) :: Enumerable.t()
  def stream(container, rows, size, shuffle, whole) do
    Stream.flat_map([:pass], fn :pass ->
      order = if shuffle, do: Mlx.eval(Random.permutation(rows))
      for start <- starts(rows, size, whole), do: {order, start, min(size, rows - start)}
    end)
    |> Stream.map(&batch(container, &1))
  end

  defp starts(rows, size, true), do: Enum.to_list(0..(rows - size)//size)
  defp starts(rows, size, false), do: Enum.to_list(0..(rows - 1)//size)

  defp batch(container, {nil, start, count}) do
    Tree.map(container, fn array -> array[start..(start + count - 1)] end)
  end

  defp batch(container, {order, start, count}) do
    indices = order[start..(start + count - 1)]
    Tree.map(container, &Mlx.take(&1, indices, axis: 0))
  end
end
