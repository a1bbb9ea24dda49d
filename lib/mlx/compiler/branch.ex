if Code.ensure_loaded?(Nx) do
  defmodule Mlx.Compiler.Branch do
    @moduledoc false
    # `cond` as native branches, one within the other. What a branch computes alone is computed only when it is taken;
    # what it shares with the scope around it is computed there, and is an input of the branch.

    alias Mlx.Compiler.{Lowering, Tensors}
    alias Mlx.{Array, Native}
    alias Nx.Defn.{Composite, Expr, Tree}
    alias Nx.Tensor

    @typep clause :: {Tensor.t(), Nx.Container.t()}

    @doc "The results of the first clause whose predicate is true, or else the last."
    @spec lower([clause()], Nx.Container.t(), Lowering.scope()) :: {term(), Lowering.scope()}
    def lower([], last, scope), do: Lowering.composite(last, scope)

    def lower([{predicate, body} | clauses], last, scope) do
      {predicate, scope} = Lowering.truth(predicate, scope)
      {if_true, true_inputs, scope} = record([], body, predicate, scope)
      {if_false, false_inputs, scope} = record(clauses, last, predicate, scope)
      [predicate] = Lowering.traced([predicate], scope)

      arrays =
        if_true
        |> Native.program_branch(if_false)
        |> Native.apply_instruction([predicate | true_inputs ++ false_inputs])

      {results, []} =
        Composite.traverse(body, arrays, fn node, [array | rest] -> {Tensors.tensor(node, array), rest} end)

      {results, scope}
    end

    # The clauses as a program, whose first input, the predicate, is there for a branch of constants.
    defp record(clauses, last, predicate, scope) do
      {shared, scope} = shared(clauses, last, scope)
      {ids, values} = Enum.unzip(shared)
      tensors = Composite.flatten_list(values)
      inputs = [predicate | Tensors.arrays(List.to_tuple(tensors))]
      kinds = for %Array{shape: shape, type: type} <- inputs, do: {shape, type}

      {program, captured} =
        Tensors.record("a branch", kinds, fn [anchor | arrays] ->
          inside = %{scope | values: Map.new(Enum.zip(ids, place(values, arrays))), anchor: anchor}
          {results, _scope} = lower(clauses, last, %{inside | ids: ids_of(clauses, last, scope.ids)})
          results
        end)

      {program, inputs ++ captured, scope}
    end

    defp ids_of([], last, ids), do: Tree.scope_ids(last, ids)
    defp ids_of(clauses, last, ids), do: Tree.scope_ids(predicates_and_bodies(clauses, last), ids)

    defp predicates_and_bodies(clauses, last) do
      List.to_tuple(Enum.flat_map(clauses, fn {predicate, body} -> [predicate, body] end) ++ [last])
    end

    # Values with other arrays in the place of theirs.
    defp place(values, arrays) do
      {values, []} = Enum.map_reduce(values, arrays, &place_one/2)
      values
    end

    defp place_one(value, arrays) do
      Composite.traverse(value, arrays, fn tensor, [array | rest] -> {Tensors.tensor(tensor, array), rest} end)
    end

    # The nodes that the clauses use and that belong to the scope around them, computed there, by id.
    defp shared(clauses, last, scope) do
      {_seen, nodes} =
        Composite.reduce(predicates_and_bodies(clauses, last), {%{}, []}, &collect(&1, &2, scope))

      Enum.map_reduce(Enum.reverse(nodes), scope, fn %Tensor{data: %Expr{id: id}} = node, scope ->
        {value, scope} = Lowering.node(node, scope)
        {{id, value}, scope}
      end)
    end

    defp collect(%Tensor{data: %Expr{id: id, op: op}} = node, {seen, nodes}, scope) do
      cond do
        is_map_key(seen, id) or op in [:constant, :tensor] ->
          {seen, nodes}

        op == :metadata ->
          collect_arguments(node, {Map.put(seen, id, true), nodes}, scope)

        op == :parameter or is_map_key(scope.ids, id) or is_map_key(scope.values, id) ->
          {Map.put(seen, id, true), [node | nodes]}

        true ->
          collect_arguments(node, {Map.put(seen, id, true), nodes}, scope)
      end
    end

    defp collect_arguments(node, acc, scope) do
      {_args, acc} =
        Tree.apply_args(node, :scope, acc, fn argument, acc -> {argument, collect(argument, acc, scope)} end)

      acc
    end
  end
end
