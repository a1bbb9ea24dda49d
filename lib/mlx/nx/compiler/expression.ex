if Code.ensure_loaded?(Nx) do
  defmodule Mlx.Nx.Compiler.Expression do
    @moduledoc false
    # What expressions are made of.

    alias Nx.Defn.{Composite, Expr, Tree}
    alias Nx.Tensor

    @doc "The numbers of the parameters that an expression uses."
    @spec parameters(Nx.Container.t()) :: MapSet.t(non_neg_integer())
    def parameters(expression) do
      # The parameters of a function are others than those around it.
      outside_functions = &(&1.data.op != :fun)

      reduce(
        expression,
        :scope,
        MapSet.new(),
        fn
          %Tensor{data: %Expr{op: :parameter, args: [number]}}, numbers -> MapSet.put(numbers, number)
          _node, numbers -> numbers
        end,
        outside_functions
      )
    end

    @doc "Whether a node of an expression, or of what is nested in it, is such."
    @spec any?(Nx.Container.t(), (Tensor.t() -> boolean())) :: boolean()
    def any?(expression, predicate) do
      reduce(expression, :all, false, fn node, found -> found or predicate.(node) end)
    end

    @doc """
    What the function makes of each node and the accumulator, once for a node: an expression may have many more paths than
    nodes. `type` is `:scope`, or `:all` for what is nested in nodes, too, as for `Nx.Defn.Tree.apply_args/4`. A node that
    `enter?` is false for is left out, with what only it uses.
    """
    @spec reduce(Nx.Container.t(), :scope | :all, acc, (Tensor.t(), acc -> acc), (Tensor.t() -> boolean())) :: acc
          when acc: term()
    def reduce(expression, type, acc, fun, enter? \\ fn _node -> true end) do
      {_seen, acc} = Composite.reduce(expression, {MapSet.new(), acc}, &visit(&1, &2, type, fun, enter?))
      acc
    end

    defp visit(%Tensor{data: %Expr{id: id}} = node, {seen, acc}, type, fun, enter?) do
      if id in seen or not enter?.(node) do
        {seen, acc}
      else
        {_args, state} =
          Tree.apply_args(node, type, {MapSet.put(seen, id), fun.(node, acc)}, &{&1, visit(&1, &2, type, fun, enter?)})

        state
      end
    end

    defp visit(_option, state, _type, _fun, _enter?), do: state
  end
end
