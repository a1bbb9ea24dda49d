if Code.ensure_loaded?(Nx) do
  defmodule Mlx.Nx.Compiler.Transposition do
    @moduledoc false
    # Products of matrices that are only used transposed, as gradients of weights are. With their operands swapped they
    # come out in the order in which they are read.

    alias Mlx.Nx.Compiler.Expression
    alias Nx.Defn.{Composite, Expr, Tree}
    alias Nx.Tensor

    @doc "The ids of the products that something else than a transposition uses."
    @spec used_as_they_are(Nx.Container.t()) :: MapSet.t(reference())
    def used_as_they_are(expression) do
      results = Composite.reduce(expression, MapSet.new(), &put_product/2)
      Expression.reduce(expression, :all, results, &put_products_used_by/2)
    end

    defp put_products_used_by(%Tensor{data: %Expr{op: :transpose}}, used), do: used

    defp put_products_used_by(node, used) do
      {_args, used} = Tree.apply_args(node, :all, used, &{&1, put_product(&1, &2)})
      used
    end

    defp put_product(%Tensor{data: %Expr{op: :dot, id: id}}, used), do: MapSet.put(used, id)
    defp put_product(_other, used), do: used

    @doc "The arguments of the product whose result is that of a product, transposed, if there is one."
    @spec swapped([term()], [non_neg_integer()]) :: {:ok, [term()]} | :error
    def swapped([left, left_axes, [], right, right_axes, []], axes) do
      rows = tuple_size(left.shape) - length(left_axes)
      columns = tuple_size(right.shape) - length(right_axes)
      {first, last} = Enum.split(Enum.to_list(0..(rows + columns - 1)//1), rows)
      if axes == last ++ first, do: {:ok, [right, right_axes, [], left, left_axes, []]}, else: :error
    end

    def swapped(_batched, _axes), do: :error
  end
end
