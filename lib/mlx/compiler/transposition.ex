if Code.ensure_loaded?(Nx) do
  defmodule Mlx.Compiler.Transposition do
    @moduledoc false
    # Products of matrices that are only used transposed, as gradients of weights are. With their operands swapped they
    # come out in the order in which they are read.

    alias Nx.Defn.{Composite, Expr, Tree}
    alias Nx.Tensor

    @doc "The ids of the products that something else than a transposition uses."
    @spec used_as_they_are(Nx.Container.t()) :: MapSet.t(reference())
    def used_as_they_are(expression) do
      {_seen, used} = Composite.reduce(expression, {MapSet.new(), MapSet.new()}, &visit(&1, nil, &2))
      used
    end

    defp visit(%Tensor{data: %Expr{id: id, op: op}} = node, parent, {seen, used}) do
      used = if op == :dot and parent != :transpose, do: MapSet.put(used, id), else: used

      if id in seen do
        {seen, used}
      else
        {_args, acc} =
          Tree.apply_args(node, :all, {MapSet.put(seen, id), used}, fn
            %Tensor{data: %Expr{}} = child, acc -> {child, visit(child, op, acc)}
            other, acc -> {other, acc}
          end)

        acc
      end
    end

    defp visit(_value, _parent, acc), do: acc

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
