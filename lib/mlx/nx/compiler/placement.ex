if Code.ensure_loaded?(Nx) do
  defmodule Mlx.Nx.Compiler.Placement do
    @moduledoc false
    # Where the nodes of an expression are computed: in the innermost branch that all of their uses are in. So what one
    # branch alone uses is computed only when that is taken, however the results of its `cond` are used.

    alias Nx.Defn.{Composite, Expr, Tree}
    alias Nx.Tensor

    # The branches around a node, the outermost first. A `cond` has two: its first clause, and all others.
    @type place :: [{reference(), boolean()}]

    @type t :: %{reference() => place()}

    @doc "The place of each node, save those in loops and functions, which have scopes of their own."
    @spec of(Nx.Container.t()) :: t()
    def of(expression) do
      roots = Composite.flatten_list([expression])
      {_seen, users_first} = Enum.reduce(roots, {MapSet.new(), []}, &visit/2)
      places = Enum.reduce(roots, %{}, &put(&1, [], &2))
      Enum.reduce(users_first, places, &place_uses/2)
    end

    @doc "Whether a node is computed at a place or in a branch there."
    @spec within?(t(), reference(), place()) :: boolean()
    def within?(places, id, place), do: places |> Map.fetch!(id) |> List.starts_with?(place)

    defp visit(%Tensor{data: %Expr{id: id}} = node, {seen, nodes}) do
      if id in seen do
        {seen, nodes}
      else
        {seen, nodes} =
          node |> uses([]) |> Enum.reduce({MapSet.put(seen, id), nodes}, fn {used, _}, acc -> visit(used, acc) end)

        {seen, [node | nodes]}
      end
    end

    defp place_uses(%Tensor{data: %Expr{id: id}} = node, places) do
      node
      |> uses(Map.fetch!(places, id))
      |> Enum.reduce(places, fn {used, place}, places -> put(used, place, places) end)
    end

    # Parameters are there from the beginning.
    defp put(%Tensor{data: %Expr{id: id, op: :parameter}}, _place, places), do: Map.put(places, id, [])
    defp put(%Tensor{data: %Expr{id: id}}, place, places), do: Map.update(places, id, place, &common(&1, place))

    defp common([branch | rest], [branch | others]), do: [branch | common(rest, others)]
    defp common(_place, _other), do: []

    # The nodes that a node at a place uses, and where.
    defp uses(%Tensor{data: %Expr{op: :fun}}, _place), do: []

    defp uses(%Tensor{data: %Expr{op: :cond, id: id, args: [clauses, last]}}, place),
      do: branches(clauses, last, id, place)

    defp uses(node, place) do
      {_args, used} =
        Tree.apply_args(node, :scope, [], fn
          %Tensor{data: %Expr{}} = argument, used -> {argument, [{argument, place} | used]}
          option, used -> {option, used}
        end)

      used
    end

    defp branches([], last, _id, place), do: leaves(last, place)

    defp branches([{predicate, body} | clauses], last, id, place) do
      [{predicate, place}] ++
        leaves(body, branch(place, id, true)) ++ branches(clauses, last, id, branch(place, id, false))
    end

    @doc "The place of a branch of a `cond` at a place: of its first clause, or of all others."
    @spec branch(place(), reference(), boolean()) :: place()
    def branch(place, id, first?), do: place ++ [{id, first?}]

    defp leaves(container, place), do: for(leaf <- Composite.flatten_list([container]), do: {leaf, place})
  end
end
