if Code.ensure_loaded?(Nx) do
  defmodule Mlx.Compiler.Loop do
    @moduledoc false
    # `while` as a native loop, or round by round. Its condition and body are programs over the state; they see nothing else.
    #
    # A gradient of Nx's has loops that begin with a 0 of `f32` and add numbers of `f64` to it. The state has the wider type
    # from the beginning.

    alias Mlx.Backend.Conversion
    alias Mlx.Compiler.{Lowering, Placement, Tensors}
    alias Mlx.Native
    alias Nx.Defn.Composite
    alias Nx.Tensor

    @doc "The state after the loop, which is known by an id: a tensor, or a tuple of them."
    @spec lower(reference(), term(), Tensor.t(), term(), Lowering.scope()) :: {term(), Lowering.scope()}
    def lower(id, initial, condition, body, scope) do
      {values, scope} = Lowering.composite(initial, scope)
      state = [values] |> Composite.flatten_list() |> widened(body)

      state =
        case scope.few_rounds do
          %{^id => count} -> run(count, body, state, scope)
          %{} -> loop(condition, body, state, scope)
        end

      {if(is_struct(values, Tensor), do: hd(state), else: List.to_tuple(state)), scope}
    end

    defp widened(state, body) do
      Enum.zip_with(state, Composite.flatten_list([body]), fn tensor, next ->
        type = tensor.type |> Nx.Type.merge(next.type) |> Conversion.type()
        Tensors.tensor(tensor, tensor |> Conversion.array() |> Conversion.cast(type))
      end)
    end

    defp run(count, body, state, scope) do
      places = Placement.of(body)

      Enum.reduce(List.duplicate(body, count), state, fn body, state ->
        {values, _scope} = Lowering.composite(body, scope_of(state, places, scope.anchor, scope))
        Tensors.alike(values, state)
      end)
    end

    defp loop(condition, body, state, scope) do
      kinds = Enum.map(state, &Tensors.kind/1)

      {condition, condition_captured} =
        Tensors.record("the condition of a loop", kinds, fn arrays ->
          {truth, _scope} = Lowering.truth(condition, scope_of(condition, state, arrays, scope))
          Mlx.Nx.to_nx(truth, lazy: true)
        end)

      {body, body_captured} =
        Tensors.record("the body of a loop", kinds, fn arrays ->
          {values, _scope} = Lowering.composite(body, scope_of(body, state, arrays, scope))
          values |> Tensors.alike(state) |> List.to_tuple()
        end)

      arrays =
        condition
        |> Native.program_loop(body, length(state))
        |> Native.apply_instruction(
          Lowering.traced(Enum.map(state, &Conversion.array/1), scope) ++ condition_captured ++ body_captured
        )

      Enum.zip_with(state, arrays, &Tensors.tensor/2)
    end

    defp scope_of(expression, state, [first | _] = arrays, scope) do
      state |> Enum.zip_with(arrays, &Tensors.tensor/2) |> scope_of(Placement.of(expression), first, scope)
    end

    defp scope_of(parameters, %{} = places, anchor, scope) do
      %{scope | parameters: parameters, values: %{}, place: [], places: places, anchor: anchor}
    end
  end
end
