if Code.ensure_loaded?(Nx) do
  defmodule Mlx.Compiler.Loop do
    @moduledoc false
    # `while` as a native loop. Its condition and body are programs over the state; they see nothing else.

    alias Mlx.Compiler.{Lowering, Placement, Tensors}
    alias Mlx.Native
    alias Nx.Defn.Composite
    alias Nx.Tensor

    @doc "The state after the loop: a tensor, or a tuple of them."
    @spec lower(term(), Tensor.t(), term(), Lowering.scope()) :: {term(), Lowering.scope()}
    def lower(initial, condition, body, scope) do
      {initial, scope} = Lowering.composite(initial, scope)
      state = Composite.flatten_list([initial])
      kinds = Enum.map(state, &Tensors.kind/1)

      {condition, condition_captured} =
        Tensors.record("the condition of a loop", kinds, fn arrays ->
          {truth, _scope} = Lowering.truth(condition, scope_of(condition, state, arrays, scope))
          Mlx.Nx.to_nx(truth, lazy: true)
        end)

      {body, body_captured} =
        Tensors.record("the body of a loop", kinds, fn arrays ->
          {body, _scope} = Lowering.composite(body, scope_of(body, state, arrays, scope))
          body
        end)

      arrays =
        condition
        |> Native.program_loop(body, length(state))
        |> Native.apply_instruction(
          Lowering.traced(Tensors.arrays(initial), scope) ++ condition_captured ++ body_captured
        )

      tensors = Enum.zip_with(state, arrays, &Tensors.tensor/2)
      {if(is_struct(initial, Tensor), do: hd(tensors), else: List.to_tuple(tensors)), scope}
    end

    defp scope_of(expression, state, [first | _] = arrays, scope) do
      %{
        scope
        | parameters: Enum.zip_with(state, arrays, &Tensors.tensor/2),
          values: %{},
          place: [],
          places: Placement.of(expression),
          anchor: first
      }
    end
  end
end
