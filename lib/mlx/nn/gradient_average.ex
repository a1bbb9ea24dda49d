defmodule Mlx.NN.GradientAverage do
  @moduledoc false
  # The mean of gradients over processes. Small arrays go together, as each exchange takes time.

  alias Mlx.{Array, Distributed, Tree, Type}

  @doc "See `Mlx.NN.average_gradients/2`."
  @spec average(Tree.t(), keyword()) :: Tree.t()
  def average(gradients, settings) do
    averages =
      gradients
      |> Tree.arrays()
      |> Enum.with_index()
      |> Enum.group_by(fn {array, _number} -> array.type end)
      |> Enum.sort()
      |> Enum.flat_map(fn {_type, arrays} -> together(arrays, settings[:all_reduce_size]) end)
      |> Enum.flat_map(&average_together(&1, settings))

    Tree.with_arrays(gradients, for({_number, average} <- Enum.sort(averages), do: average))
  end

  # Lists of arrays that have so many bytes together, or a little more.
  defp together(arrays, size) do
    Enum.chunk_while(
      arrays,
      {[], 0},
      fn {array, _number} = numbered, {chunk, bytes} ->
        bytes = bytes + Tuple.product(array.shape) * Type.bytes(array.type)
        if bytes >= size, do: {:cont, [numbered | chunk], {[], 0}}, else: {:cont, {[numbered | chunk], bytes}}
      end,
      fn
        {[], 0} -> {:cont, nil}
        {chunk, _bytes} -> {:cont, chunk, nil}
      end
    )
  end

  defp average_together([{array, number}], settings), do: [{number, mean(array, settings)}]

  defp average_together(numbered, settings) do
    {arrays, numbers} = Enum.unzip(numbered)
    [_start | positions] = arrays |> Enum.map(&Tuple.product(&1.shape)) |> Enum.scan(&+/2) |> then(&[0 | &1])

    parts =
      arrays
      |> Enum.map(&Mlx.reshape(&1, -1))
      |> Mlx.concatenate()
      |> mean(settings)
      |> Mlx.split(Enum.drop(positions, -1))

    Enum.zip_with([numbers, arrays, parts], fn [number, array, part] -> {number, Mlx.reshape(part, array.shape)} end)
  end

  defp mean(%Array{type: type} = array, settings) do
    group = settings[:group]
    sent = Mlx.as_type(array, settings[:communication_type] || type)
    sum = Distributed.all_sum(sent, group: group, timeout: settings[:timeout])
    sum |> Mlx.divide(group.size) |> Mlx.as_type(type)
  end
end
