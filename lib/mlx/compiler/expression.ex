if Code.ensure_loaded?(Nx) do
  defmodule Mlx.Compiler.Expression do
    @moduledoc false
    # What expressions are made of.

    alias Nx.Defn.{Composite, Expr, Tree}
    alias Nx.Tensor

    @doc "The numbers of the parameters that an expression uses."
    @spec parameters(Nx.Container.t()) :: MapSet.t(non_neg_integer())
    def parameters(expression) do
      reduce(expression, :scope, MapSet.new(), fn
        %Tensor{data: %Expr{op: :parameter, args: [number]}}, numbers -> MapSet.put(numbers, number)
        _node, numbers -> numbers
      end)
    end

    @doc "Whether a node of an expression, or of what is nested in it, is such."
    @spec any?(Nx.Container.t(), (Tensor.t() -> boolean())) :: boolean()
    def any?(expression, predicate) do
      reduce(expression, :all, false, fn node, found -> found or predicate.(node) end)
    end

    # Each node once: an expression may have many more paths than nodes.
    defp reduce(expression, type, acc, fun) do
      {_seen, acc} = Composite.reduce(expression, {MapSet.new(), acc}, &visit(&1, &2, type, fun))
      acc
    end

    # The parameters of a function are others than those around it.
    defp visit(%Tensor{data: %Expr{op: :fun}}, state, :scope, _fun), do: state

    defp visit(%Tensor{data: %Expr{id: id}} = node, {seen, acc}, type, fun) do
      if id in seen do
        {seen, acc}
      else
        {_args, state} =
          Tree.apply_args(node, type, {MapSet.put(seen, id), fun.(node, acc)}, &{&1, visit(&1, &2, type, fun)})

        state
      end
    end

    defp visit(_option, state, _type, _fun), do: state
  end
end
