defmodule Mlx.Ops.EinsumPath do
  @moduledoc false
  # The order in which `Mlx.einsum/2` contracts its arrays: a greedy search.
  #
  # Two arrays or fewer are contracted at once. Of more, the pair goes first that makes the arrays smaller the most, at
  # the least cost among equals; the result takes its place at the end of the list. Pairs without a common index come
  # only when there are no others, and pairs never whose result is larger than the largest array, or with which the whole
  # would cost more than all arrays at once.
  #
  # Indices are letters. An array is the set of its indices, and `sizes` has the size of each.

  alias Mlx.Array

  @letters Enum.concat(?a..?z, ?A..?Z)

  @typedoc "Costs in floating-point operations, and the number of indices of the largest contraction."
  @type info :: %{
          naive_cost: non_neg_integer(),
          naive_scaling: non_neg_integer(),
          optimized_cost: non_neg_integer(),
          optimized_scaling: non_neg_integer()
        }

  @typedoc """
  The indices of each array and of the result, the size of each index, and the positions that are contracted in each step.
  An axis of size 1 whose index has another size is broadcast.
  """
  @type plan :: %{
          inputs: [[index()]],
          output: [index()],
          sizes: %{index() => non_neg_integer()},
          steps: [tuple()]
        }

  @type index :: char()

  @doc "The positions that are contracted in each step, and what that costs."
  @spec path(String.t(), [Array.t()]) :: {[tuple()], info()}
  def path(subscripts, arrays) do
    {plan, info} = search_plan("Mlx.einsum_path", subscripts, for(%Array{shape: shape} <- arrays, do: shape))
    {plan.steps, info}
  end

  @doc "What `path/2` finds for arrays of the shapes, and what the subscripts say. `function` is named in errors."
  @spec plan(String.t(), String.t(), [tuple()]) :: plan()
  def plan(function, subscripts, shapes) do
    {plan, _info} = search_plan(function, subscripts, shapes)
    plan
  end

  defp search_plan(function, subscripts, shapes) do
    {inputs, output} = parse(subscripts)
    check_count!(inputs, shapes)
    ranks = Enum.zip_with(inputs, shapes, &ellipsis_rank/2)
    spare = Enum.reject(@letters, &(&1 in String.to_charlist(subscripts)))
    inputs = Enum.zip_with(inputs, ranks, &expand(&1, &2, spare))
    output = expand(output, Enum.max(ranks), spare)
    sizes = sizes(inputs, shapes)
    check_output!(output, sizes)
    {steps, info} = search(Enum.map(inputs, &MapSet.new/1), MapSet.new(output), sizes)
    {%{inputs: inputs, output: output, sizes: sizes, steps: steps}, info}
  catch
    {:mistake, message} -> raise ArgumentError, "#{function}: #{message}"
  end

  @doc """
  Raises where MLX would misread subscripts: at signs that have no meaning, and at an ellipsis for more axes than there
  are letters left to name.
  """
  @spec check!(String.t(), [Array.t()]) :: :ok
  def check!(subscripts, arrays) do
    signs = subscripts |> :binary.bin_to_list() |> Enum.uniq()
    letters = Enum.count(signs, &(&1 in @letters))

    if Enum.any?(signs, &(&1 not in @letters and &1 not in ~c" ,.->")) do
      raise ArgumentError, "Mlx.einsum: expected letters, commas, dots and an arrow, got: #{inspect(subscripts)}"
    end

    for %Array{shape: shape} <- arrays, ?. in signs and tuple_size(shape) + letters > length(@letters) do
      raise ArgumentError, "Mlx.einsum: there are not enough letters for an array of #{tuple_size(shape)} axes"
    end

    :ok
  end

  # Subscripts

  # Without an output it has the indices that occur once, in the order of the alphabet, behind an ellipsis.
  defp parse(subscripts) do
    case subscripts |> String.replace(" ", "") |> String.split("->") do
      [inputs, output] -> {inputs |> String.split(",") |> Enum.map(&indices/1), indices(output)}
      [inputs] -> inputs |> String.split(",") |> Enum.map(&indices/1) |> implicit()
      _more -> error("expected one arrow in #{inspect(subscripts)}")
    end
  end

  defp implicit(inputs) do
    counts = inputs |> Enum.concat() |> Enum.frequencies()
    once = for {index, 1} <- counts, index != :ellipsis, do: index
    {inputs, if(counts[:ellipsis], do: [:ellipsis], else: []) ++ Enum.sort(once)}
  end

  defp indices(text), do: text |> String.to_charlist() |> indices([], text)

  defp indices([], found, _text), do: Enum.reverse(found)

  defp indices([?., ?., ?. | rest], found, text) do
    if :ellipsis in found, do: error("there is more than one ellipsis in #{inspect(text)}")
    indices(rest, [:ellipsis | found], text)
  end

  defp indices([letter | rest], found, text) when letter in @letters, do: indices(rest, [letter | found], text)
  defp indices([other | _], _found, _text), do: error("expected letters as indices, got: #{<<other::utf8>>}")

  defp check_count!(inputs, shapes) do
    if shapes == [], do: error("expected at least one array")

    if length(inputs) != length(shapes) do
      error("the subscripts are for #{length(inputs)} arrays, got #{length(shapes)}")
    end
  end

  defp check_output!(output, sizes) do
    if Enum.uniq(output) != output, do: error("an index is twice in the output")

    for index <- output, not is_map_key(sizes, index) do
      error("the index #{<<index>>} of the output belongs to no array")
    end
  end

  # How many axes the ellipsis stands for.
  defp ellipsis_rank(indices, shape) do
    missing = tuple_size(shape) - Enum.count(indices, &(&1 != :ellipsis))

    if missing < 0 or (missing > 0 and :ellipsis not in indices) do
      error("an array of shape #{inspect(shape)} does not have the #{length(indices)} indices of its subscripts")
    end

    missing
  end

  defp expand(indices, rank, spare) do
    if rank > length(spare), do: error("there are not enough letters for #{rank} more axes")

    Enum.flat_map(indices, fn index -> if index == :ellipsis, do: Enum.take(spare, -rank), else: [index] end)
  end

  # Sizes of 1 are broadcast, but not between the indices of one array.
  defp sizes(inputs, shapes) do
    inputs
    |> Enum.zip(shapes)
    |> Enum.map(fn {indices, shape} -> merge(Enum.zip(indices, Tuple.to_list(shape)), %{}, &same_size/3) end)
    |> Enum.reduce(%{}, &merge(&1, &2, fn index, a, b -> broadcast_size(index, a, b) end))
  end

  defp merge(pairs, sizes, join) do
    Enum.reduce(pairs, sizes, fn {index, size}, sizes -> Map.update(sizes, index, size, &join.(index, &1, size)) end)
  end

  defp same_size(_index, size, size), do: size
  defp same_size(index, a, b), do: error("the index #{<<index>>} of one array has the sizes #{a} and #{b}")

  defp broadcast_size(_index, a, 1), do: a
  defp broadcast_size(_index, 1, b), do: b
  defp broadcast_size(_index, size, size), do: size
  defp broadcast_size(index, a, b), do: error("the index #{<<index>>} has the sizes #{a} and #{b}")

  # Search

  defp search(inputs, output, sizes) do
    all = union(inputs)
    naive_cost = cost(all, output, length(inputs), sizes)
    naive = %{naive_cost: naive_cost, naive_scaling: MapSet.size(all)}
    largest = [output | inputs] |> Enum.map(&size(&1, sizes)) |> Enum.max()

    {steps, cost, scaling} =
      if length(inputs) <= 2 do
        {[at_once(inputs)], naive_cost, MapSet.size(all)}
      else
        limits = %{size: largest, cost: naive_cost}
        contract(inputs, [], pairs(inputs), %{output: output, sizes: sizes, limits: limits}, {[], 0, 0})
      end

    {steps, Map.merge(naive, %{optimized_cost: cost, optimized_scaling: scaling})}
  end

  defp contract([_], _known, _pairs, _problem, {steps, cost, scaling}), do: {Enum.reverse(steps), cost, scaling}

  defp contract(inputs, known, pairs, problem, {steps, cost, scaling}) do
    case candidates(inputs, known, pairs, cost, problem) do
      [] ->
        all = union(inputs)
        rest = cost(all, problem.output, length(inputs), problem.sizes)
        {Enum.reverse([at_once(inputs) | steps]), cost + rest, max(scaling, MapSet.size(all))}

      candidates ->
        best = Enum.min_by(candidates, &{-&1.gain, &1.cost})
        {a, b} = best.pair
        remaining = inputs |> List.delete_at(b) |> List.delete_at(a)
        last = length(remaining)

        contract(
          remaining ++ [best.result],
          moved(candidates, best.pair),
          for(position <- 0..(last - 1)//1, do: {position, last}),
          problem,
          {[best.pair | steps], cost + best.cost, max(scaling, best.rank)}
        )
    end
  end

  # Candidates of the steps before stay as they were found.
  defp candidates(inputs, known, pairs, spent, problem) do
    inputs = List.to_tuple(inputs)
    touching = Enum.reject(pairs, fn {a, b} -> MapSet.disjoint?(elem(inputs, a), elem(inputs, b)) end)

    case known ++ Enum.flat_map(touching, &candidate(&1, inputs, spent, problem)) do
      [] -> Enum.flat_map(pairs, &candidate(&1, inputs, spent, problem))
      candidates -> candidates
    end
  end

  defp candidate({a, b} = pair, inputs, spent, %{output: output, sizes: sizes, limits: limits}) do
    both = MapSet.union(elem(inputs, a), elem(inputs, b))
    others = for {input, position} <- Enum.with_index(Tuple.to_list(inputs)), position not in [a, b], do: input
    result = MapSet.intersection(both, union([output | others]))
    cost = cost(both, result, 2, sizes)
    result_size = size(result, sizes)

    if result_size > limits.size or spent + cost > limits.cost do
      []
    else
      gain = size(elem(inputs, a), sizes) + size(elem(inputs, b), sizes) - result_size
      [%{pair: pair, result: result, gain: gain, cost: cost, rank: MapSet.size(both)}]
    end
  end

  # The candidates that are left when a pair is gone, at their new positions.
  defp moved(candidates, {a, b}) do
    shift = fn position -> position - Enum.count([a, b], &(position > &1)) end

    for %{pair: {x, y}} = candidate <- candidates, x not in [a, b], y not in [a, b] do
      %{candidate | pair: {shift.(x), shift.(y)}}
    end
  end

  defp pairs(inputs), do: for(b <- 1..(length(inputs) - 1)//1, a <- 0..(b - 1)//1, do: {a, b}) |> Enum.sort()

  defp at_once(inputs), do: 0..(length(inputs) - 1)//1 |> Enum.to_list() |> List.to_tuple()

  # A multiplication for each array but one, and an addition where indices are summed over.
  defp cost(all, output, count, sizes) do
    additions = if MapSet.subset?(all, output), do: 0, else: 1
    size(all, sizes) * (max(count - 1, 1) + additions)
  end

  defp size(indices, sizes), do: indices |> Enum.map(&Map.fetch!(sizes, &1)) |> Enum.product()

  defp union(sets), do: Enum.reduce(sets, MapSet.new(), &MapSet.union/2)

  defp error(message), do: throw({:mistake, message})
end
