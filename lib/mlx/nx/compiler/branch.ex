if Code.ensure_loaded?(Nx) do
  defmodule Mlx.Nx.Compiler.Branch do
    @moduledoc false
    # `cond` as native branches, one within the other. What a branch computes alone is computed only when it is taken, or else
    # takes next to no time; what it shares with the scope around it is computed there, and is an input of the branch.

    alias Mlx.{Array, Native}
    alias Mlx.Nx.Backend.SmallArrays
    alias Mlx.Nx.Compiler.{Lowering, Placement, Tensors}
    alias Nx.Defn.{Composite, Expr, Tree}
    alias Nx.Tensor

    @typep clause :: {Tensor.t(), Nx.Container.t()}

    @doc "The results of the first clause whose predicate is true, or else the last. The `cond` is known by an id."
    @spec lower(reference(), [clause()], Nx.Container.t(), Lowering.scope()) :: {term(), Lowering.scope()}
    def lower(_id, [], last, scope), do: Lowering.composite(last, scope)

    def lower(id, [{predicate, body} | clauses], last, scope) do
      {predicate, scope} = Lowering.truth(predicate, scope)
      {if_true, true_inputs, scope} = record({id, true}, [], body, predicate, scope)
      {if_false, false_inputs, scope} = record({id, false}, clauses, last, predicate, scope)
      [predicate] = Lowering.traced([predicate], scope)

      arrays =
        if_true
        |> Native.program_branch(if_false, small?(true_inputs ++ false_inputs, body))
        |> Native.apply_instruction([predicate | true_inputs ++ false_inputs])

      {results, []} =
        Composite.traverse(body, arrays, fn node, [array | rest] -> {Tensors.tensor(node, array), rest} end)

      {results, scope}
    end

    # It may take less time to compute both branches than to wait for the predicate.
    defp small?(inputs, body) do
      results = for tensor <- Composite.flatten_list([body]), do: Tensors.kind(tensor)
      kinds = for %Array{shape: shape, type: type} <- inputs, do: {shape, type}
      Enum.all?(kinds ++ results, &SmallArrays.small?/1)
    end

    # The clauses as a program, whose first input, the predicate, is there for a branch of constants.
    defp record({id, first?}, clauses, last, predicate, scope) do
      place = Placement.branch(scope.place, id, first?)
      {shared, scope} = shared(clauses, last, place, scope)
      {ids, values} = Enum.unzip(shared)
      tensors = values |> Composite.flatten_list() |> Enum.reject(&Tensors.form/1)
      inputs = [predicate | Tensors.arrays(List.to_tuple(tensors))]
      kinds = for %Array{shape: shape, type: type} <- inputs, do: {shape, type}

      {program, captured} =
        Tensors.record("a branch", kinds, fn [anchor | arrays] ->
          values = Map.new(Enum.zip(ids, put_arrays(values, arrays)))
          {results, _scope} = lower(id, clauses, last, %{scope | values: values, anchor: anchor, place: place})
          results
        end)

      {program, inputs ++ captured, scope}
    end

    defp predicates_and_bodies(clauses, last) do
      List.to_tuple(Enum.flat_map(clauses, fn {predicate, body} -> [predicate, body] end) ++ [last])
    end

    # Values with other arrays in the place of theirs.
    defp put_arrays(values, arrays) do
      {values, []} = Enum.map_reduce(values, arrays, &put_arrays_of_one/2)
      values
    end

    # Quantized tensors stay, and are captured.
    defp put_arrays_of_one(value, arrays) do
      Composite.traverse(value, arrays, fn tensor, arrays ->
        if Tensors.form(tensor), do: {tensor, arrays}, else: Tensors.take(tensor, nil, arrays)
      end)
    end

    # The nodes that the clauses use and that belong to the scope around their place, computed there, by id.
    defp shared(clauses, last, place, scope) do
      {_seen, nodes} =
        Composite.reduce(
          predicates_and_bodies(clauses, last),
          {MapSet.new(), []},
          &collect(&1, &2, place, scope.places)
        )

      Enum.map_reduce(Enum.reverse(nodes), scope, fn %Tensor{data: %Expr{id: id}} = node, scope ->
        {value, scope} = Lowering.node(node, scope)
        {{id, value}, scope}
      end)
    end

    defp collect(%Tensor{data: %Expr{id: id, op: op}} = node, {seen, nodes}, place, places) do
      cond do
        id in seen or op in [:constant, :tensor, :fun] ->
          {seen, nodes}

        op == :metadata or Placement.within?(places, id, place) ->
          collect_arguments(node, {MapSet.put(seen, id), nodes}, place, places)

        true ->
          {MapSet.put(seen, id), [node | nodes]}
      end
    end

    defp collect_arguments(node, acc, place, places) do
      {_args, acc} =
        Tree.apply_args(node, :scope, acc, fn
          %Tensor{data: %Expr{}} = argument, acc -> {argument, collect(argument, acc, place, places)}
          option, acc -> {option, acc}
        end)

      acc
    end
  end
end
