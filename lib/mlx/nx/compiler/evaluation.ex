if Code.ensure_loaded?(Nx) do
  defmodule Mlx.Nx.Compiler.Evaluation do
    @moduledoc false
    # Definitions that Nx's evaluator computes, one operation of `Mlx.Backend` after the other: those with numbers that MLX has
    # no type for, and all while `Mlx.disable_compile/0` holds.

    alias Mlx.Backend
    alias Nx.Defn.Evaluator
    alias Nx.Tensor

    @doc "A function of the arguments of a definition, each a function that returns a tensor."
    @spec prepare([Nx.Container.t()], ([Nx.Container.t()] -> Nx.Container.t()), keyword()) ::
            ([(-> Tensor.t())] -> Nx.Container.t())
    def prepare(vars, fun, options) do
      evaluate = Evaluator.__compile__(nil, vars, fun, Keyword.take(options, [:hooks]))
      backend = {Backend, Keyword.take(options, [:lazy, :device])}

      fn arguments ->
        Nx.with_default_backend(backend, fn ->
          [result] = evaluate.([Enum.map(arguments, &fn -> of_backend(&1.(), backend) end)])
          result
        end)
      end
    end

    defp of_backend(%Tensor{data: %Backend{}} = tensor, _backend), do: tensor
    defp of_backend(tensor, backend), do: Nx.backend_copy(tensor, backend)
  end
end
