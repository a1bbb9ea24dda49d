if Code.ensure_loaded?(Nx) do
  defmodule Mlx.Nx.Einsum do
    @moduledoc false
    # `Mlx.Nx.einsum/2`, in the order that `Mlx.Ops.EinsumPath` finds. A term is a tensor with an index for each of its axes.

    alias Mlx.Ops.EinsumPath
    alias Nx.Tensor

    @typep term_of_indices :: {Tensor.t(), [EinsumPath.index()]}

    @doc "The sum over products that the subscripts describe."
    @spec compute(String.t(), [Tensor.t()]) :: Tensor.t()
    def compute(subscripts, tensors) do
      plan = EinsumPath.plan("Mlx.Nx.einsum", subscripts, Enum.map(tensors, & &1.shape))
      type = tensors |> Enum.map(& &1.type) |> Enum.reduce(&Nx.Type.merge/2)

      [result] =
        tensors
        |> Enum.zip_with(plan.inputs, &{&1 |> unnamed() |> Nx.as_type(type), &2})
        |> Enum.map(&(&1 |> without_broadcast(plan.sizes) |> diagonal()))
        |> then(&Enum.reduce(plan.steps, &1, fn step, terms -> contract(terms, step, plan.output) end))

      {tensor, _indices} = result |> summed(plan.output) |> ordered(plan.output)
      tensor
    end

    defp unnamed(tensor), do: Nx.rename(tensor, List.duplicate(nil, Nx.rank(tensor)))

    # What is broadcast has its index from another term.
    defp without_broadcast({tensor, indices}, sizes) do
      kept? = fn {index, size} -> size == sizes[index] end
      {indices, shape} = indices |> Enum.zip(Tuple.to_list(tensor.shape)) |> Enum.filter(kept?) |> Enum.unzip()
      {Nx.reshape(tensor, List.to_tuple(shape)), indices}
    end

    # Of an index that a term has twice, the elements where both are the same.
    defp diagonal({_tensor, indices} = term) do
      case indices -- Enum.uniq(indices) do
        [] ->
          term

        [index | _] ->
          others = Enum.reject(indices, &(&1 == index))
          twice = List.duplicate(index, 2)
          # A third one stays in front.
          front = others ++ List.duplicate(index, length(indices) - length(others) - 2)
          {tensor, _indices} = ordered(term, front ++ twice)
          diagonal({Nx.take_diagonal(tensor), front ++ [index]})
      end
    end

    # The terms at some positions become one, which is the last.
    defp contract(terms, step, output) do
      positions = Tuple.to_list(step)
      rest = for {term, position} <- Enum.with_index(terms), position not in positions, do: term
      [first | others] = Enum.map(positions, &Enum.at(terms, &1))
      rest ++ [multiply_all(first, others, indices(rest) ++ output)]
    end

    defp multiply_all(term, [], _needed), do: term

    defp multiply_all(term, [next | others], needed) do
      term |> multiply(next, indices(others) ++ needed) |> multiply_all(others, needed)
    end

    defp indices(terms), do: Enum.flat_map(terms, fn {_tensor, indices} -> indices end)

    # The product of two terms, summed over the indices that are not needed any more.
    @spec multiply(term_of_indices(), term_of_indices(), [EinsumPath.index()]) :: term_of_indices()
    defp multiply(a, {_, b_indices} = b, needed) do
      {a, a_indices} = summed(a, b_indices ++ needed)
      {b, b_indices} = summed(b, a_indices ++ needed)
      common = Enum.filter(a_indices, &(&1 in b_indices))
      {batch, contracted} = Enum.split_with(common, &(&1 in needed))
      {a_free, b_free} = {a_indices -- common, b_indices -- common}
      {a, _indices} = ordered({a, a_indices}, batch ++ a_free ++ contracted)
      {b, _indices} = ordered({b, b_indices}, batch ++ contracted ++ b_free)
      {product(a, b, length(batch), length(contracted)), batch ++ a_free ++ b_free}
    end

    defp product(a, b, batch, 0) do
      ones = Tuple.duplicate(1, Nx.rank(b) - batch)
      {common, own} = b.shape |> Tuple.to_list() |> Enum.split(batch)
      b = Nx.reshape(b, List.to_tuple(common ++ List.duplicate(1, Nx.rank(a) - batch) ++ own))
      Nx.multiply(Nx.reshape(a, List.to_tuple(Tuple.to_list(a.shape) ++ Tuple.to_list(ones))), b)
    end

    defp product(a, b, batch, contracted) do
      axes = Enum.to_list(0..(batch - 1)//1)
      last = Enum.to_list((Nx.rank(a) - contracted)..(Nx.rank(a) - 1)//1)
      Nx.dot(a, last, axes, b, Enum.to_list(batch..(batch + contracted - 1)//1), axes)
    end

    # The sum over the indices that are not needed.
    defp summed({tensor, indices}, needed) do
      case for {index, axis} <- Enum.with_index(indices), index not in needed, do: axis do
        [] -> {tensor, indices}
        axes -> {tensor |> Nx.sum(axes: axes) |> Nx.as_type(tensor.type), Enum.filter(indices, &(&1 in needed))}
      end
    end

    defp ordered({tensor, indices}, indices), do: {tensor, indices}

    defp ordered({tensor, indices}, order) do
      {axes, _rest} =
        Enum.map_reduce(order, Enum.with_index(indices), fn index, rest ->
          {^index, axis} = first = List.keyfind!(rest, index, 0)
          {axis, List.delete(rest, first)}
        end)

      {Nx.transpose(tensor, axes: axes), order}
    end
  end
end
