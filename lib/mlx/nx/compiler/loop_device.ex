if Code.ensure_loaded?(Nx) do
  defmodule Mlx.Nx.Compiler.LoopDevice do
    @moduledoc false
    # Where a loop runs. Each round waits for its condition, and to wait for a GPU takes longer than a CPU takes to compute
    # a round on small tensors. So a GPU hands such a loop to the CPU, on the same memory.

    alias Mlx.Device
    alias Mlx.Nx.Backend.SmallArrays
    alias Mlx.Nx.Compiler.{Expression, Tensors}
    alias Nx.Defn.Expr
    alias Nx.Tensor

    @doc "What the function returns, which records a loop of this condition and body, on the device that suits the loop."
    @spec run(Tensor.t(), Nx.Container.t(), (-> result)) :: result when result: term()
    def run(condition, body, record) do
      if Device.default() == :gpu and small?(condition) and small?(body),
        do: Mlx.with_device(:cpu, record),
        else: record.()
    end

    @doc "Whether every tensor of an expression is small."
    @spec small?(Nx.Container.t()) :: boolean()
    def small?(expression), do: not Expression.any?(expression, &large?/1)

    # Those that a node with several results has are nodes, too.
    defp large?(%Tensor{type: {:tuple, _count}}), do: false
    defp large?(%Tensor{data: %Expr{op: :fun}}), do: false
    defp large?(tensor), do: not (tensor |> Tensors.kind() |> SmallArrays.small?())
  end
end
