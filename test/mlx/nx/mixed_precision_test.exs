if Code.ensure_loaded?(Nx) do
  defmodule Mlx.Nx.MixedPrecisionTest do
    use ExUnit.Case, async: true

    import Nx.Defn

    alias Mlx.Nx.MixedPrecision

    doctest Mlx.Nx.MixedPrecision

    # Its gradients have no digits in f16.
    defn(loss(%{w: w, b: b}, x, y), do: Nx.mean((Nx.dot(x, w) + b - y) ** 2) * 1.0e-6)

    defn step(parameters, state, x, y) do
      {x, y} = MixedPrecision.cast({x, y}, :f16)
      {loss, gradients, state} = MixedPrecision.value_and_grad(state, parameters, &loss(&1, x, y))
      updated = descend(parameters, gradients)
      {loss, MixedPrecision.select(state, updated, parameters), state, gradients}
    end

    defn(gradients(parameters, x, y), do: value_and_grad(parameters, fn parameters -> loss(parameters, x, y) end))

    deftransformp descend(parameters, gradients) do
      Map.new(parameters, fn {name, value} -> {name, Nx.subtract(value, Nx.multiply(gradients[name], 2.0e5))} end)
    end

    defp run(parameters, state, x, y, compiler) do
      Nx.with_default_backend(Mlx.Backend, fn ->
        Nx.Defn.jit_apply(&step/4, [parameters, state, x, y], compiler: compiler)
      end)
    end

    defp start(scale) do
      Nx.with_default_backend(Mlx.Backend, fn ->
        x = Nx.divide(Nx.remainder(Nx.iota({32, 4}, type: :f32), 7), 7)
        y = Nx.add(Nx.dot(x, Nx.tensor([1.0, -2.0, 0.5, 3.0])), 0.25)
        parameters = %{w: Nx.broadcast(0.0, {4}), b: Nx.tensor(0.0)}
        {parameters, MixedPrecision.new(scale: scale, interval: 50), x, y}
      end)
    end

    test "small gradients keep their digits with a scale, and lose them without one" do
      for compiler <- [Mlx, Nx.Defn.Evaluator] do
        {parameters, state, x, y} = start(32_768)
        {loss, updated, state, gradients} = run(parameters, state, x, y, compiler)
        {exact, slopes} = Nx.Defn.jit_apply(&gradients/3, [parameters, x, y], compiler: Mlx)
        assert {loss.type, gradients.w.type, updated.w.type} == {{:f, 32}, {:f, 32}, {:f, 32}}
        assert_in_delta Nx.to_number(loss), Nx.to_number(exact), 5.0e-2 * Nx.to_number(exact)

        for {a, b} <- Enum.zip(Nx.to_list(gradients.w), Nx.to_list(slopes.w)) do
          assert_in_delta a, b, 5.0e-2 * abs(b)
        end

        assert {Nx.to_number(state.finite), Nx.to_number(state.steps)} == {1, 1}
        {_loss, _updated, _state, lost} = run(parameters, MixedPrecision.new(scale: 1), x, y, compiler)
        for {a, b} <- Enum.zip(Nx.to_list(lost.w), Nx.to_list(slopes.w)), do: assert(abs(a - b) > 0.3 * abs(b))
      end
    end

    test "a scale that is too large is made smaller until steps can be taken, and larger after a while" do
      {parameters, state, x, y} = start(2 ** 40)
      {_loss, same, state, _gradients} = run(parameters, state, x, y, Mlx)
      assert Nx.to_list(same.w) == [0.0, 0.0, 0.0, 0.0]
      assert {Nx.to_number(state.finite), Nx.to_number(state.scale)} == {0, 2.0 ** 39}

      {trained, scales} =
        Enum.reduce(1..100, {parameters, [state]}, fn _step, {parameters, [state | _] = states} ->
          {_loss, parameters, state, _gradients} = run(parameters, state, x, y, Mlx)
          {parameters, [state | states]}
        end)
        |> then(fn {trained, states} -> {trained, Enum.map(states, &Nx.to_number(&1.scale))} end)

      [before, later] =
        for p <- [parameters, trained], do: elem(Nx.Defn.jit_apply(&gradients/3, [p, x, y], compiler: Mlx), 0)

      assert Nx.to_number(later) < 0.2 * Nx.to_number(before)
      assert Enum.max(Enum.take(scales, 60)) > Enum.min(scales)
    end

    test "states are containers, and bf16 needs no scale" do
      state = MixedPrecision.new(scale: 1, interval: :infinity)
      x = Nx.tensor([1.5, -2.0])
      {loss, gradient, state} = MixedPrecision.value_and_grad(state, x, &Nx.sum(Nx.multiply(&1, &1)), type: :bf16)
      assert {Nx.to_number(loss), Nx.to_list(gradient)} == {6.25, [3.0, -4.0]}
      assert Nx.to_number(state.scale) == 1.0
    end
  end
end
