if Code.ensure_loaded?(Nx) do
  defmodule Mlx.Nx.Compiler.Loop do
    @moduledoc false
    # `while` as a native loop, or round by round. Its condition and body are programs over the state; they see nothing else.
    #
    # A gradient of Nx's has loops that begin with a 0 of `f32` and add numbers of `f64` to it. The state has the wider type
    # from the beginning.

    alias Mlx.Nx.Backend.Conversion
    alias Mlx.Nx.Compiler.{LoopDevice, Lowering, Placement, Tensors}
    alias Mlx.Native
    alias Nx.Defn.{Composite, Expr}
    alias Nx.Tensor

    @doc "The state after the loop, which is known by an id: a tensor, or a tuple of them."
    @spec lower(reference(), term(), Tensor.t(), term(), Lowering.scope()) :: {term(), Lowering.scope()}
    def lower(id, initial, condition, body, scope) do
      {values, scope} = Lowering.composite(initial, scope)
      [given, next] = for composite <- [values, body], do: Composite.flatten_list([composite])
      kept = kept(given, next)
      state = widened(moving(given, kept), moving(next, kept))

      state =
        case scope.few_rounds do
          %{^id => count} -> run(count, body, state, kept, scope)
          %{} -> LoopDevice.run(condition, body, fn -> loop(condition, body, state, kept, scope) end)
        end

      state = complete(state, kept)
      {if(is_struct(values, Tensor), do: hd(state), else: List.to_tuple(state)), scope}
    end

    # The quantized tensors of the state that every round hands on as they are, by their places in it. They are no part of
    # the native state, but captured. Others are unpacked.
    defp kept(state, body) do
      kept =
        for {{tensor, next}, place} <- state |> Enum.zip(body) |> Enum.with_index(),
            Tensors.form(tensor) != nil,
            match?(%Tensor{data: %Expr{op: :parameter, args: [^place]}}, next),
            into: %{},
            do: {place, tensor}

      if map_size(kept) == length(state), do: %{}, else: kept
    end

    defp moving(state, kept),
      do: for({tensor, place} <- Enum.with_index(state), not is_map_key(kept, place), do: tensor)

    defp complete(state, kept) do
      kept |> Enum.sort() |> Enum.reduce(state, fn {place, tensor}, state -> List.insert_at(state, place, tensor) end)
    end

    defp widened(state, body) do
      Enum.zip_with(state, body, fn tensor, next ->
        type = tensor.type |> Nx.Type.merge(next.type) |> Conversion.type()
        Tensors.tensor(tensor, tensor |> Conversion.array() |> Conversion.cast(type))
      end)
    end

    defp run(count, body, state, kept, scope) do
      places = Placement.of(body)

      Enum.reduce(List.duplicate(body, count), state, fn body, state ->
        {values, _scope} = Lowering.composite(body, scope_of(complete(state, kept), places, scope.anchor, scope))
        next(values, state, kept)
      end)
    end

    defp next(values, state, kept), do: [values] |> Composite.flatten_list() |> moving(kept) |> Tensors.alike(state)

    defp loop(condition, body, state, kept, scope) do
      kinds = Enum.map(state, &Tensors.kind/1)

      {condition, condition_captured} =
        Tensors.record("the condition of a loop", kinds, fn arrays ->
          {truth, _scope} = Lowering.truth(condition, scope_of(condition, state, kept, arrays, scope))
          Mlx.Nx.to_nx(truth, lazy: true)
        end)

      {body, body_captured} =
        Tensors.record("the body of a loop", kinds, fn arrays ->
          {values, _scope} = Lowering.composite(body, scope_of(body, state, kept, arrays, scope))
          values |> next(state, kept) |> List.to_tuple()
        end)

      arrays =
        condition
        |> Native.program_loop(body, length(state))
        |> Native.apply_instruction(
          Lowering.traced(Enum.map(state, &Conversion.array/1), scope) ++ condition_captured ++ body_captured
        )

      Enum.zip_with(state, arrays, &Tensors.tensor/2)
    end

    defp scope_of(expression, state, kept, [first | _] = arrays, scope) do
      state
      |> Enum.zip_with(arrays, &Tensors.tensor/2)
      |> complete(kept)
      |> scope_of(Placement.of(expression), first, scope)
    end

    defp scope_of(parameters, %{} = places, anchor, scope) do
      %{scope | parameters: parameters, values: %{}, place: [], places: places, anchor: anchor}
    end
  end
end
