if Code.ensure_loaded?(Nx) do
  defmodule Mlx.Nx.Compiler.Simplification do
    @moduledoc false
    # Nodes that Nx's gradients are made of, and that are computed sooner in another way.

    alias Nx.Defn.Expr
    alias Nx.Tensor

    @doc "A node of the same value that takes its place, if there is one."
    @spec of(Tensor.t()) :: Tensor.t() | nil
    def of(%Tensor{data: %Expr{op: op, args: args}} = node) do
      if simpler = simpler(op, args) do
        %{simpler | names: node.names}
      end
    end

    # exp(-x) * sigmoid(x), in the gradient of sigmoid, where exp(-x) overflows besides.
    defp simpler(:multiply, [
           %Tensor{data: %Expr{op: :exp, args: [%Tensor{data: %Expr{op: :negate, args: [%{data: %{id: id}}]}}]}},
           %Tensor{data: %Expr{op: :sigmoid, args: [%{data: %{id: id}}]}} = sigmoid
         ]) do
      Nx.subtract(Expr.tensor(1), sigmoid)
    end

    # The gradient of rsqrt.
    defp simpler(:pow, [x, %Tensor{data: %Expr{op: :constant, args: [-1.5]}}]) do
      root = Nx.rsqrt(x)
      root |> Nx.multiply(root) |> Nx.multiply(root)
    end

    defp simpler(_op, _args), do: nil
  end
end
