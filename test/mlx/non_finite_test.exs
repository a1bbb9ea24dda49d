defmodule Mlx.NonFiniteTest do
  # What is switched on holds for all processes.
  use ExUnit.Case, async: false

  alias Mlx.{NonFinite, NonFiniteError}

  doctest NonFinite
  doctest NonFiniteError

  setup do
    on_exit(&NonFinite.disable/0)
  end

  defp error(kinds \\ [:nan, :infinity], fun) do
    assert_raise NonFiniteError, fn -> NonFinite.with_check(kinds, fun) end
  end

  defp assert_made(fun, function, element, position \\ []) do
    error = error(fun)
    assert {error.function, error.element, error.position} == {function, element, position}
  end

  describe "names the function that made" do
    test "the first NaN or infinity, and where" do
      x = Mlx.array([[1.0, 4.0, 0.0], [0.0, -1.0, 0.0]])
      assert_made(fn -> x |> Mlx.abs() |> Mlx.log() |> Mlx.sum() end, "Mlx.log", :neg_infinity, [0, 2])
      assert_made(fn -> x |> Mlx.add(1) |> Mlx.sqrt() |> Mlx.rsqrt() end, "Mlx.rsqrt", :infinity, [1, 1])
      assert_made(fn -> Mlx.sqrt(x) end, "Mlx.sqrt", :nan, [1, 1])
    end

    test "NaN before infinity, where a result has both" do
      assert_made(fn -> Mlx.divide(Mlx.array([1.0, 0.0]), 0.0) end, "Mlx.divide", :nan, [1])
      assert %{kind: :infinity, position: [0]} = error([:infinity], fn -> Mlx.divide(Mlx.array([1.0, 0.0]), 0.0) end)
    end

    test "it, as an operator" do
      use Mlx.Operators
      assert_made(fn -> -Mlx.array([1.0]) / 0 end, "Mlx.divide", :neg_infinity, [0])
    end

    test "it, in each module" do
      singular = Mlx.array([[1.0, 2.0], [2.0, 4.0]])
      assert_made(fn -> Mlx.exp(Mlx.array(1000.0, type: :f64), stream: :cpu) end, "Mlx.exp", :infinity)
      assert_made(fn -> Mlx.as_type(Mlx.array([1.0, 1.0e5]), :f16) end, "Mlx.as_type", :infinity, [1])
      assert_made(fn -> Mlx.reduce_max(Mlx.multiply(Mlx.array([1.0e38]), 10)) end, "Mlx.multiply", :infinity, [0])
      assert_made(fn -> Mlx.mean(Mlx.zeros({0})) end, "Mlx.mean", :nan)

      assert_made(fn -> Mlx.matmul(Mlx.full({1, 2}, 1.0e30), Mlx.full({2, 1}, 1.0e30)) end, "Mlx.matmul", :infinity, [
        0,
        0
      ])

      assert_made(fn -> Mlx.Linalg.norm(Mlx.full({2}, 1.0e30)) end, "Mlx.Linalg.norm", :infinity)

      assert_made(fn -> Mlx.Linalg.cross(Mlx.full({3}, 1.0e30), Mlx.full({3}, 1.0e30)) end, "Mlx.Linalg.cross", :nan, [
        0
      ])

      assert_made(fn -> Mlx.FFT.fft(Mlx.full({2}, 3.0e38)) end, "Mlx.FFT.fft", {:infinity, 0.0}, [0])
      assert_made(fn -> Mlx.Fast.rms_norm(Mlx.zeros({1, 2}), nil, eps: 0.0) end, "Mlx.Fast.rms_norm", :nan, [0, 0])

      assert_made(
        fn -> Mlx.Random.normal({2}, scale: 3.0e38, key: Mlx.Random.key(1)) end,
        "Mlx.Random.normal",
        :neg_infinity,
        [0]
      )

      assert_raise Mlx.Error, ~r/^Mlx.Linalg.invert: .*singular/, fn ->
        NonFinite.with_check(fn -> Mlx.Linalg.invert(singular) end)
      end
    end

    test "with a message and the line of the call" do
      error = error(fn -> Mlx.log(Mlx.zeros({2}, type: :bf16)) end)

      assert Exception.message(error) ==
               "Mlx.log: element [0] of the result of type :bf16 and shape {2} is :neg_infinity, and no operand has an infinity"

      assert %{kind: :infinity, shape: {2}, type: :bf16} = error

      {line, stacktrace} =
        try do
          NonFinite.with_check(fn -> {__ENV__.line, Mlx.log(0.0) |> Mlx.add(1)} end)
        rescue
          NonFiniteError -> {__ENV__.line - 2, __STACKTRACE__}
        end

      assert Enum.any?(stacktrace, &match?({__MODULE__, _, _, [file: _, line: ^line]}, &1))
    end
  end

  describe "says nothing" do
    test "of elements that operands have, of either kind" do
      x = Mlx.array([:nan, :infinity, 1.0])
      NonFinite.with_check(fn -> for f <- [&Mlx.exp/1, &Mlx.negate/1, &Mlx.sum/1], do: f.(x) end)
      NonFinite.with_check(fn -> Mlx.add(Mlx.ones({2}), :infinity) end)
      NonFinite.with_check(fn -> Mlx.pad(Mlx.ones({2}), 1, value: :nan) end)
      assert_made(fn -> Mlx.subtract(:infinity, Mlx.array([1.0, :infinity])) end, "Mlx.subtract", :nan, [1])
    end

    test "of arrays that are made of terms, and of types without fractions" do
      NonFinite.with_check(fn ->
        [Mlx.array([:nan]), Mlx.full({2}, :infinity), Mlx.from_binary(<<0x7FC00000::32-native>>, {1}, :f32)]
        Mlx.divide(1, 2) |> Mlx.as_type(:s32) |> Mlx.add(1)
        Mlx.zeros({0}) |> Mlx.log()
      end)
    end

    test "of what an operation has on its way" do
      x = Mlx.array([0.0, 1.0e4], type: :f64)
      assert [0.5, 1.0] = NonFinite.with_check(fn -> Mlx.sigmoid(x, stream: :cpu) |> Mlx.to_list() end)
    end

    test "of kinds that are not asked for" do
      assert [:infinity] = NonFinite.with_check([:nan], fn -> Mlx.exp(Mlx.array([1000.0])) |> Mlx.to_list() end)
      assert :nan = NonFinite.with_check([:infinity], fn -> Mlx.sqrt(-1.0) |> Mlx.to_number() end)
    end
  end

  describe "holds" do
    test "for the calling process only" do
      NonFinite.with_check(fn ->
        assert Task.await(Task.async(fn -> Mlx.to_number(Mlx.log(0.0)) end)) == :neg_infinity
      end)
    end

    test "no longer than the function" do
      error(fn -> Mlx.log(0.0) end)
      catch_throw(NonFinite.with_check(fn -> throw(:away) end))
      assert Mlx.to_number(Mlx.log(0.0)) == :neg_infinity
    end

    @tag :capture_log
    test "for all processes, until it is switched off" do
      NonFinite.enable()
      {:exit, {%NonFiniteError{function: "Mlx.log"}, _}} = catch_exit_of(fn -> Mlx.log(0.0) end)
      assert Mlx.to_number(NonFinite.with_check([], fn -> Mlx.log(0.0) end)) == :neg_infinity
      NonFinite.disable()
      assert Mlx.to_number(Mlx.log(0.0)) == :neg_infinity
      error(fn -> Mlx.log(0.0) end)
    end

    defp catch_exit_of(fun) do
      {pid, monitor} = spawn_monitor(fun)
      receive(do: ({:DOWN, ^monitor, :process, ^pid, reason} -> {:exit, reason}))
    end
  end

  describe "inside of" do
    test "grad and its like, operations and derivatives are checked" do
      x = Mlx.array([1.0, 0.0])
      inside = fn x -> x |> Mlx.log() |> Mlx.sum() end
      derivative = fn x -> x |> Mlx.sqrt() |> Mlx.sum() end

      for transform <- [&Mlx.grad/1, &Mlx.value_and_grad/1, &Mlx.checkpoint/1, &Mlx.custom_function(&1, [])] do
        assert_made(fn -> transform.(inside).(x) end, "Mlx.log", :neg_infinity, [1])
      end

      assert_made(fn -> Mlx.grad(derivative).(x) end, "Mlx.grad", :infinity, [1])
      assert_made(fn -> Mlx.value_and_grad(derivative).(x) end, "Mlx.value_and_grad", :infinity, [1])
      assert_made(fn -> Mlx.vjp(&Mlx.sqrt/1, [x], Mlx.ones({2})) end, "Mlx.vjp", :infinity, [1])
      assert_made(fn -> Mlx.jvp(&Mlx.sqrt/1, [x], [Mlx.ones({2})]) end, "Mlx.jvp", :infinity, [1])

      assert_made(
        fn -> Mlx.grad(fn x -> Mlx.grad(&Mlx.pow(&1, 1.5)).(x) end).(Mlx.array(0.0)) end,
        "Mlx.grad",
        :infinity
      )
    end

    test "grad, what is right is as without" do
      loss = fn w -> w |> Mlx.square() |> Mlx.exp() |> Mlx.sum() end
      w = Mlx.array([0.5, -1.0])
      expected = Mlx.grad(loss).(w) |> Mlx.to_list()
      assert NonFinite.with_check(fn -> Mlx.grad(loss).(w) end) |> Mlx.to_list() == expected
    end

    test "compiled functions, operations are checked one by one" do
      compiled = Mlx.compile(fn x -> x |> Mlx.add(1) |> Mlx.log() |> Mlx.exp() end)
      assert_in_delta compiled.(Mlx.array(1.0)) |> Mlx.to_number(), 2.0, 1.0e-6
      assert_made(fn -> compiled.(Mlx.array(-1.0)) end, "Mlx.log", :neg_infinity)
      assert Mlx.to_number(compiled.(Mlx.array(-1.0))) == 0.0
    end

    test "vmap, the result is checked" do
      mapped = Mlx.vmap(fn x -> Mlx.add(Mlx.log(x), 1) end)
      assert_made(fn -> mapped.(Mlx.array([1.0, 0.0])) end, "Mlx.vmap", :neg_infinity, [1])
      assert NonFinite.with_check(fn -> Mlx.vmap(&Mlx.log/1).(Mlx.ones({2})) end) |> Mlx.to_list() == [0.0, 0.0]

      assert_made(fn -> Mlx.grad(fn x -> Mlx.sum(mapped.(x)) end).(Mlx.array([0.0])) end, "Mlx.vmap", :neg_infinity, [0])

      assert_made(fn -> Mlx.vmap(Mlx.grad(&Mlx.sqrt/1)).(Mlx.array([0.0])) end, "Mlx.vmap", :infinity, [0])
    end
  end

  describe "check" do
    test "finds the first element of a container" do
      container = {Mlx.ones({2}), [%{a: Mlx.array([[1.0, 2.0], [3.0, :neg_infinity]])}]}
      assert NonFinite.check(container, [:nan]) == container
      error = assert_raise NonFiniteError, fn -> NonFinite.check(container) end

      assert Exception.message(error) ==
               "Mlx.NonFinite.check: element [1, 1] of an array of type :f32 and shape {2, 2} is :neg_infinity"
    end

    test "of complex numbers and of every other type" do
      for type <- [:f16, :bf16, :f32, :f64, :c64] do
        x = Mlx.array([1, 2], type: type, stream: :cpu)
        assert NonFinite.check(x) == x
        assert_raise NonFiniteError, fn -> NonFinite.check(Mlx.array([1.0, :nan], type: type, stream: :cpu)) end
      end

      error = assert_raise NonFiniteError, fn -> NonFinite.check(Mlx.array([{1.0, :infinity}])) end
      assert error.element == {1.0, :infinity}
    end
  end

  test "other kinds are refused" do
    for {function, call} <- [
          enable: &NonFinite.enable/1,
          with_check: &NonFinite.with_check(&1, fn -> :ok end),
          check: &NonFinite.check([], &1)
        ],
        kinds <- [:nan, [:inf]] do
      message = "Mlx.NonFinite.#{function}: expected a list of :nan and :infinity, got: #{inspect(kinds)}"
      assert_raise ArgumentError, message, fn -> call.(kinds) end
    end
  end

  if Code.ensure_loaded?(Nx) do
    describe "of Nx" do
      setup do
        Nx.default_backend(Mlx.Backend)
        :ok
      end

      test "operations and blocks are checked" do
        assert_made(fn -> Nx.log(Nx.tensor([1.0, 0.0])) end, "Nx.log", :neg_infinity, [1])
        assert_made(fn -> Nx.divide(Nx.tensor(0.0), 0) end, "Nx.divide", :nan)
        assert_made(fn -> Nx.LinAlg.cholesky(Nx.tensor([[-1.0]])) end, "Nx.Block.LinAlg.Cholesky", :nan, [0, 0])
        NonFinite.with_check(fn -> Nx.add(Nx.tensor([1.0]), Nx.tensor([:nan], backend: Nx.BinaryBackend)) end)
      end

      test "compiled definitions are computed operation by operation" do
        call = fn x -> Nx.Defn.jit_apply(fn x -> x |> Nx.log() |> Nx.exp() end, [x], compiler: Mlx) end
        assert Nx.to_number(call.(Nx.tensor(0.0))) == 0.0
        assert_made(fn -> call.(Nx.tensor(0.0)) end, "Nx.log", :neg_infinity)
      end
    end
  end
end
