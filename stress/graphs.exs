defmodule Mlx.Stress.Graphs do
  @moduledoc false
  # Graphs whose values are known. All are integers of at most 11 bits where they are multiplied as matrices and at most 24
  # bits elsewhere, so that every float holds them: on a GPU, products of matrices round their operands to 11 bits.

  @doc "A graph of some kind, `{array, values}`: nothing is evaluated, and the values are those of its elements in a row."
  @spec random() :: {Mlx.Array.t(), [integer()]}
  def random do
    case :rand.uniform(5) do
      1 -> product()
      2 -> weighted_product()
      3 -> reduction()
      4 -> elementwise()
      5 -> order()
    end
  end

  @doc "Whether the array has these values; evaluates it."
  @spec right?(Mlx.Array.t(), [integer()]) :: boolean()
  def right?(array, values), do: array |> Mlx.flatten() |> Mlx.to_list() == values

  # A chain of products with permutations, each of which moves the rows on.
  defp product do
    size = Enum.random([8, 16, 24, 32])
    {matrix, values} = pattern({size, size}, 17)
    {moved, shift} = permute(matrix, size)
    {moved, values |> Enum.chunk_every(size) |> move(shift) |> Enum.concat()}
  end

  # The same of larger matrices, and then a product that adds up.
  defp weighted_product do
    size = Enum.random([48, 64, 96, 128])
    {matrix, values} = pattern({size, size}, 15)
    {weights, factors} = pattern({size, 2}, 5)
    {moved, shift} = permute(matrix, size)
    columns = factors |> Enum.chunk_every(2) |> Enum.zip_with(& &1)
    rows = values |> Enum.chunk_every(size) |> move(shift)
    {Mlx.matmul(moved, weights), for(row <- rows, column <- columns, do: dot(row, column))}
  end

  defp permute(matrix, size) do
    Enum.reduce(1..Enum.random(1..8), {matrix, 0}, fn _, {matrix, shift} ->
      by = Enum.random(1..(size - 1))
      {size |> Mlx.eye() |> Mlx.roll(by, axes: [0]) |> Mlx.matmul(matrix), rem(shift + by, size)}
    end)
  end

  defp move(rows, shift) do
    {first, last} = Enum.split(rows, length(rows) - shift)
    last ++ first
  end

  defp dot(xs, ys), do: Enum.sum(Enum.zip_with(xs, ys, &(&1 * &2)))

  defp reduction do
    shape = {rows, columns} = {Enum.random(2..12), Enum.random([33, 500, 1021])}
    {matrix, values} = pattern(shape, 1009)
    lists = Enum.chunk_every(values, columns)

    case :rand.uniform(4) do
      1 -> {Mlx.sum(matrix), [Enum.sum(values)]}
      2 -> {Mlx.sum(matrix, axes: [1]), Enum.map(lists, &Enum.sum/1)}
      3 -> {Mlx.sum(matrix, axes: [0]), Enum.zip_with(lists, &Enum.sum/1)}
      4 -> {Mlx.reduce_max(Mlx.reshape(matrix, {rows, columns}), axes: [1]), Enum.map(lists, &Enum.max/1)}
    end
  end

  defp elementwise do
    {array, values} = pattern({Enum.random([7, 1000, 4099])}, 101)

    Enum.reduce(1..Enum.random(1..12), {array, values}, fn _, {array, values} ->
      by = Enum.random(1..50)

      case :rand.uniform(5) do
        1 -> {Mlx.add(array, by), Enum.map(values, &(&1 + by))}
        2 -> {Mlx.subtract(by, array), Enum.map(values, &(by - &1))}
        3 -> {Mlx.max(array, by), Enum.map(values, &max(&1, by))}
        4 -> {Mlx.abs(array), Enum.map(values, &abs/1)}
        5 -> {Mlx.negate(array), Enum.map(values, &(-&1))}
      end
    end)
  end

  defp order do
    {array, values} = pattern({Enum.random([5, 300, 2000])}, 251)

    case :rand.uniform(3) do
      1 -> {Mlx.sort(array), Enum.sort(values)}
      2 -> {Mlx.cumulative_sum(array), Enum.scan(values, &(&1 + &2))}
      3 -> {Mlx.take(array, Mlx.arange(length(values) - 1, -1, -1)), Enum.reverse(values)}
    end
  end

  # Integers from -modulus / 2 to modulus / 2, computed or from a list, in a type that holds them.
  defp pattern(shape, modulus) do
    count = Tuple.product(shape)
    {factor, start, half} = {Enum.random(1..97), Enum.random(0..modulus), div(modulus, 2)}
    values = for index <- 0..(count - 1), do: rem(factor * index + start, modulus) - half

    array =
      if :rand.uniform(3) == 1 do
        Mlx.array(values, type: :f32)
      else
        count
        |> Mlx.arange()
        |> Mlx.multiply(factor)
        |> Mlx.add(start)
        |> Mlx.remainder(modulus)
        |> Mlx.subtract(half)
        |> Mlx.as_type(:f32)
      end

    {Mlx.reshape(array, shape), values}
  end
end
