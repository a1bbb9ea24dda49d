if Code.ensure_loaded?(Nx) do
  defmodule Mlx.Nx.Compiler.LoopDeviceTest do
    use ExUnit.Case, async: true

    import Nx.Defn

    alias Mlx.Nx.Compiler.LoopDevice
    alias Nx.Defn.Expr
    alias Nx.Tensor

    defn halve(x) do
      while(x, Nx.any(Nx.greater(x, 1)), do: x / 2)
    end

    defn halve_by_large_rounds(x) do
      while x, Nx.any(Nx.greater(x, 1)) do
        x / (Nx.iota({100, 100}) |> Nx.sum() |> Nx.multiply(0) |> Nx.add(2))
      end
    end

    defp small?(fun, shape) do
      expression = Nx.Defn.debug_expr(fun).(Nx.template(shape, :f32))
      %Tensor{data: %Expr{op: :while, args: [_initial, _parameters, condition, body]}} = expression
      {LoopDevice.small?(condition), LoopDevice.small?(body)}
    end

    test "is small where all that its rounds compute is" do
      assert small?(&halve/1, {}) == {true, true}
      assert small?(&halve/1, {64, 64}) == {true, true}
      assert small?(&halve/1, {65, 64}) == {false, false}
      assert small?(&halve_by_large_rounds/1, {4}) == {true, false}
    end

    @tag skip: Mlx.Device.default() != :gpu && "needs a GPU"
    test "the CPU computes small loops for a GPU, with the same values" do
      x = Nx.tensor([[1000.0, 3.0]], backend: {Mlx.Backend, device: :gpu})
      result = Nx.Defn.jit(&halve/1, compiler: Mlx, device: :gpu).(x)
      assert_in_delta result |> Nx.sum() |> Nx.to_number(), 1000 / 1024 + 3 / 1024, 1.0e-6
    end
  end
end
