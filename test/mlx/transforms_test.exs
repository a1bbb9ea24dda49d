defmodule Mlx.TransformsTest do
  # Whether functions are compiled is a setting of the virtual machine.
  use ExUnit.Case, async: false

  defp number(array), do: Mlx.to_number(array)

  describe "gradients" do
    test "of gradients" do
      for {order, expected} <- [{1, &:math.cos/1}, {2, &(-:math.sin(&1))}, {3, &(-:math.cos(&1))}] do
        derivative = Enum.reduce(1..order, &Mlx.sin/1, fn _, fun -> Mlx.grad(fun) end)
        assert_in_delta number(derivative.(Mlx.array(0.5))), expected.(0.5), 1.0e-6
      end
    end

    test "through a function that uses an array of the function around it" do
      outer = fn x ->
        inner = Mlx.grad(fn y -> Mlx.multiply(Mlx.multiply(x, y), y) end)
        Mlx.multiply(x, inner.(Mlx.array(3.0)))
      end

      assert number(outer.(Mlx.array(2.0))) == 24.0
      assert number(Mlx.grad(outer).(Mlx.array(2.0))) == 24.0
    end

    test "have the form of the argument, in the order of argnums" do
      fun = fn %{a: a}, [b, c] -> Mlx.sum(Mlx.multiply(a, Mlx.multiply(b, c))) end
      arguments = [%{a: Mlx.array([1.0, 2.0]), rate: 0.1}, [Mlx.array(3.0), Mlx.array(4.0)]]
      {[db, dc], %{a: da, rate: 0.1}} = apply(Mlx.grad(fun, argnums: [1, 0]), arguments)
      assert Enum.map([da, db, dc], &Mlx.to_list(Mlx.reshape(&1, {-1}))) == [[12.0, 12.0], [12.0], [9.0]]
    end

    test "see values while the function runs" do
      relu = fn x -> if number(x) > 0, do: x, else: Mlx.multiply(x, 0.0) end
      assert number(Mlx.grad(relu).(Mlx.array(2.0))) == 1.0
      assert number(Mlx.grad(relu).(Mlx.array(-2.0))) == 0.0
    end

    test "refuse what has no gradient" do
      assert_raise ArgumentError, ~r/Mlx.grad: expected a function that returns a scalar/, fn ->
        Mlx.grad(&Mlx.square/1).(Mlx.array([1.0]))
      end

      assert_raise ArgumentError, ~r/no argument 1/, fn -> Mlx.grad(&Mlx.square/1, argnums: 1) end
      assert_raise ArgumentError, ~r/hold no arrays/, fn -> Mlx.grad(fn _ -> Mlx.array(1.0) end).(:atom) end
    end

    test "leave an exception of the function as it is, and nothing behind" do
      assert_raise KeyError, fn -> Mlx.grad(fn x -> Map.fetch!(%{}, x) end).(Mlx.array(1.0)) end
      assert number(Mlx.grad(&Mlx.square/1).(Mlx.array(3.0))) == 6.0
    end

    test "treat what is not computed from the argument as constant" do
      assert number(Mlx.grad(fn _x -> Mlx.array(2.0) end).(Mlx.array(1.0))) == 0.0
      y = Mlx.add(Mlx.array(1.0), 2.0)
      assert number(Mlx.grad(fn x -> Mlx.multiply(x, y) end).(Mlx.array(5.0))) == 3.0
    end
  end

  describe "vmap" do
    test "of a gradient, with an argument that is not mapped" do
      fun = Mlx.grad(fn x, y -> Mlx.sum(Mlx.multiply(Mlx.square(x), y)) end)
      x = Mlx.array([[1.0, 2.0], [3.0, 4.0]])
      assert Mlx.to_list(Mlx.vmap(fun, in_axes: [0, nil]).(x, Mlx.array([1.0, 10.0]))) == [[2.0, 40.0], [6.0, 80.0]]
    end

    test "places the axes" do
      x = Mlx.iota({2, 3})
      assert Mlx.to_list(Mlx.vmap(&Mlx.add(&1, 1), in_axes: 1, out_axes: 1).(x)) == [[1, 2, 3], [4, 5, 6]]
      assert Mlx.to_list(Mlx.vmap(&Mlx.add(&1, 1), in_axes: -1).(x)) == [[1, 4], [2, 5], [3, 6]]
      {sum, same} = Mlx.vmap(&{Mlx.sum(&1), &1}, out_axes: {0, 1}).(x)
      assert {Mlx.to_list(sum), same.shape} == {[3, 12], {3, 2}}
    end

    test "refuses axes that do not fit" do
      x = Mlx.ones({2, 3})
      assert_raise ArgumentError, ~r/axis 2/, fn -> Mlx.vmap(& &1, in_axes: 2).(x) end
      assert_raise ArgumentError, ~r/sizes 2 and 3/, fn -> Mlx.vmap(&Mlx.add/2, in_axes: [0, 1]).(x, x) end
      assert_raise ArgumentError, ~r/no argument has an axis/, fn -> Mlx.vmap(& &1, in_axes: nil).(x) end
      assert_raise ArgumentError, ~r/form/, fn -> Mlx.vmap(& &1, in_axes: [0, 0]).(x) end
      assert_raise ArgumentError, ~r/form/, fn -> Mlx.vmap(&%{a: &1, b: &1}, out_axes: {0, 1}).(x) end
      assert_raise ArgumentError, ~r/form/, fn -> Mlx.vmap(&%{a: &1, b: &1}, out_axes: %{a: 0, c: 1}).(x) end
    end

    test "of an update with a value for each call" do
      update = fn value -> Mlx.put_at(Mlx.zeros({2, 2}), [Mlx.array([0])], value) end

      assert Mlx.to_list(Mlx.vmap(update).(Mlx.array([1.0, 2.0]))) ==
               [[[1.0, 1.0], [0.0, 0.0]], [[2.0, 2.0], [0.0, 0.0]]]
    end

    test "adds axes wherever the mapped one is" do
      x = Mlx.ones({2, 3, 4})

      for mapped <- 0..2, axes <- [[0, 1], [0, 2], [1, 2], [-1, 0], [2, 0, 1]] do
        size = elem(x.shape, mapped)
        added = Mlx.vmap(&Mlx.new_axis(&1, axes), in_axes: mapped).(x)
        shape = Mlx.new_axis(Mlx.ones(Tuple.delete_at(x.shape, mapped)), axes).shape
        assert added.shape == Tuple.insert_at(shape, 0, size)
      end
    end

    test "has no values to read" do
      assert_raise Mlx.Error, ~r/for Mlx.vmap/, fn -> Mlx.vmap(&Mlx.to_number/1).(Mlx.ones({2})) end

      assert_raise Mlx.Error, ~r/for Mlx.vmap/, fn ->
        Mlx.vmap(fn x -> Mlx.grad(fn y -> Mlx.add(y, number(Mlx.add(x, y))) end).(Mlx.array(1.0)) end).(Mlx.ones({2}))
      end
    end
  end

  describe "compile" do
    test "records once for each form of the arguments" do
      parent = self()

      fun =
        Mlx.compile(fn %{x: x}, n ->
          send(parent, {:recorded, x.shape, n})
          Mlx.multiply(x, n)
        end)

      for _ <- 1..3, n <- [2, 3], shape <- [{2}, {3}] do
        assert Mlx.to_list(fun.(%{x: Mlx.ones(shape)}, n)) == List.duplicate(n * 1.0, elem(shape, 0))
      end

      for n <- [2, 3], shape <- [{2}, {3}], do: assert_received({:recorded, ^shape, ^n})
      refute_received {:recorded, _, _}
    end

    # CUDA takes a second or more for each kernel.
    @tag timeout: 600_000
    test "computes with each number as it is, whatever the function does with it" do
      uses = [
        fn x, n -> Mlx.multiply(Mlx.add(x, n), n) end,
        fn x, n -> Mlx.add(Mlx.multiply(x, n * 2), n - 1) end,
        fn x, n -> if n > 2, do: Mlx.exp(Mlx.divide(x, -n)), else: Mlx.sqrt(Mlx.add(x, n)) end,
        fn x, n -> Enum.reduce(1..ceil(n), x, &Mlx.add(Mlx.multiply(&2, 0.5), &1)) end,
        fn x, n -> Mlx.multiply(Mlx.sum(x), Mlx.full({ceil(n)}, n)) end,
        fn x, n -> Mlx.grad(&Mlx.sum(Mlx.multiply(Mlx.square(&1), n))).(x) end,
        fn x, n -> Mlx.compile(&Mlx.multiply(Mlx.square(&1), &2)).(x, n) end
      ]

      x = Mlx.array([1.0, 2.0, 3.0])

      for use <- uses, compiled = Mlx.compile(use), n <- [1, 2.5, 0.5, 2, 3, 0.5, 4, 1] do
        assert Mlx.all_close(compiled.(x, n), use.(x, n)) |> number()
      end
    end

    # CUDA takes a second or more for each kernel.
    @tag timeout: 600_000
    test "gives numbers that change the type that they have beside an array" do
      for fun <- [&Mlx.multiply/2, &Mlx.subtract/2, &Mlx.divide/2, &Mlx.pow/2], type <- [:bf16, :f32, :s32, :bool] do
        compiled = Mlx.compile(fun)
        x = Mlx.array(1, type: type)

        for n <- [2, 1.5, 3, 2.5, 4] do
          expected = fun.(x, n)
          result = compiled.(x, n)
          assert {result.type, number(result)} == {expected.type, number(expected)}
        end
      end
    end

    test "keeps the forms that were used last of those that differ only in numbers" do
      parent = self()
      fun = Mlx.compile(fn x, n -> send(parent, {:recorded, n}) && Mlx.add(x, n) end)
      call = fn n -> assert number(fun.(Mlx.array(1), n)) == 1 + n end
      for n <- 1..32, do: call.(n)
      call.(1)
      call.(33)
      for n <- 1..33, do: assert_received({:recorded, ^n})
      call.(1)
      call.(3)
      refute_received {:recorded, _}
      call.(2)
      assert_received {:recorded, 2}
    end

    test "tells apart integers and other numbers, and numbers that are keys, in what differs in numbers only" do
      parent = self()

      recorded? = fn fun, arguments ->
        apply(fun, arguments)
        receive(do: (:recorded -> true), after: (0 -> false))
      end

      fun = Mlx.compile(fn x, _any -> send(parent, :recorded) && Mlx.negate(x) end)
      x = Mlx.array(1.0)
      others = [[0], [{0.5, "a"}], %{0 => 1}, %{1 => 1}, [nil]]
      for other <- others, do: assert(recorded?.(fun, [x, other]))
      for n <- 1..32, do: assert(recorded?.(fun, [x, [n]]))
      for n <- 1..31, do: assert(recorded?.(fun, [x, [n / 2]]))
      for n <- [:nan, :infinity], do: assert(recorded?.(fun, [x, [n]]))
      assert recorded?.(fun, [x, [0]])
      assert recorded?.(fun, [x, [0.5]])
      for other <- tl(others), do: refute(recorded?.(fun, [x, other]))

      any_shape = Mlx.compile(fn x, n -> send(parent, :recorded) && Mlx.add(x, n) end, shapeless: true)
      for n <- 1..33, do: assert(recorded?.(any_shape, [Mlx.ones({n}), n]))
      assert recorded?.(any_shape, [Mlx.ones({33}), 1])
    end

    test "merges equal numbers, and not those that were equal at another call" do
      uses = fn x, a, b ->
        [
          Mlx.add(Mlx.multiply(x, a), Mlx.multiply(Mlx.exp(x), b)),
          Mlx.subtract(Mlx.multiply(Mlx.reshape(x, {3, 1}), a), b),
          Mlx.add(Mlx.arange(3), Mlx.multiply(Mlx.arange(3), a))
        ]
      end

      compiled = Mlx.compile(uses)
      x = Mlx.array([1.0, 2.0, 3.0])

      for {a, b} <- [{0.5, 0.5}, {0.5, 0.75}, {0.75, 0.5}, {0.75, 0.75}, {2, 0.5}, {2, 2}] do
        for {result, expected} <- Enum.zip(compiled.(x, a, b), uses.(x, a, b)) do
          assert {result.shape, result.type} == {expected.shape, expected.type}
          assert number(Mlx.all_close(result, expected))
        end
      end
    end

    test "shapeless, records once for each number of axes" do
      parent = self()

      fun =
        Mlx.compile(
          fn x ->
            send(parent, :recorded)
            Mlx.sum(Mlx.exp(x))
          end,
          shapeless: true
        )

      assert number(fun.(Mlx.zeros({2}))) == 2.0
      assert number(fun.(Mlx.zeros({5}))) == 5.0
      assert_received :recorded
      refute_received :recorded
    end

    test "composes with gradients both ways" do
      loss = fn w, x -> Mlx.sum(Mlx.square(Mlx.multiply(w, x))) end
      x = Mlx.array([1.0, 2.0])
      expected = Mlx.to_list(Mlx.grad(loss).(x, x))
      assert Mlx.to_list(Mlx.compile(Mlx.grad(loss)).(x, x)) == expected
      assert Mlx.to_list(Mlx.grad(Mlx.compile(loss)).(x, x)) == expected
      assert Mlx.to_list(Mlx.vmap(Mlx.compile(&Mlx.square/1)).(x)) == [1.0, 4.0]
    end

    test "frees what is donated, and computes the results in its place" do
      step = Mlx.compile(fn %{w: w}, [x, y] -> {%{w: Mlx.subtract(w, Mlx.multiply(x, y))}, Mlx.sum(x)} end, donate: [0])
      [x, y] = for _ <- 1..2, do: Mlx.eval(Mlx.ones({1024, 1024}))
      state = Mlx.eval(%{w: Mlx.zeros({1024, 1024})})
      # The first call makes the kernels.
      {state, _sum} = Mlx.eval(step.(state, [x, y]))
      active = Mlx.Memory.active()
      {after_step, sum} = Mlx.eval(step.(state, [x, y]))
      assert_in_delta Mlx.Memory.active(), active, 1024 * 1024
      assert number(Mlx.mean(after_step.w)) == -2.0
      assert number(sum) == 1024 * 1024
      assert_raise ArgumentError, ~r/deallocated/, fn -> Mlx.add(state.w, 1) end
      # What is used after the measurement is not collected before it.
      for array <- [x, y], do: assert(number(Mlx.mean(array)) == 1.0)
    end

    test "keeps what is donated where the call is recorded or raises" do
      fun = Mlx.compile(fn w, x -> Mlx.sum(Mlx.multiply(w, x)) end, donate: [0])
      w = Mlx.array([1.0, 2.0])
      assert Mlx.to_list(Mlx.grad(&fun.(w, &1)).(Mlx.array([5.0, 5.0]))) == [1.0, 2.0]
      assert_raise Mlx.Error, fn -> fun.(w, Mlx.ones({3})) end
      assert number(fun.(w, w)) == 5.0
      assert_raise ArgumentError, ~r/deallocated/, fn -> fun.(w, Mlx.ones({2})) end

      assert_raise ArgumentError, ~r/positions of the 2 arguments, got: \[2\]/, fn ->
        Mlx.compile(&Mlx.add/2, donate: [2])
      end
    end

    test "computes once the angles of equal rotations, which MLX makes of ranges on a CPU" do
      Mlx.Stream.with_current(Mlx.Stream.default(:cpu), fn ->
        rotated = fn x, count ->
          Enum.reduce(1..count, x, fn _time, x -> Mlx.cumulative_sum(Mlx.Fast.rope(x, 8, offset: 3), axis: -1) end)
        end

        [x, other] = for seed <- 1..2, do: Mlx.Random.normal({1, 2, 5, 8}, key: Mlx.Random.key(seed))
        fun = fn x, other -> Mlx.add(rotated.(x, 4), Mlx.Fast.rope(other, 8, offset: 4)) end
        result = Mlx.compile(fun).(x, other)
        dot = Mlx.export_to_dot(result)
        operations = for [_all, name] <- Regex.scan(~r/label ="([^"]+)", shape=rectangle/, dot), do: name
        assert Enum.count(operations, &(&1 == "CumSum")) == 4
        # Those of the offset 3, and those of the offset 4.
        assert Enum.count(operations, &(&1 == "Cos")) == 2
        assert number(Mlx.all_close(result, fun.(x, other), rtol: 1.0e-5, atol: 1.0e-6))
      end)
    end

    test "keeps as many recordings as it was asked for, those that were used last" do
      test = self()
      fun = Mlx.compile(fn x -> send(test, :recorded) && Mlx.add(x, 1) end, keep: 2)
      recorded? = fn size -> fun.(Mlx.ones({size})) && receive(do: (:recorded -> true), after: (0 -> false)) end

      assert Enum.map([1, 2, 1, 2, 3, 3, 2, 1, 3], recorded?) == [
               true,
               true,
               false,
               false,
               true,
               false,
               false,
               true,
               true
             ]

      for keep <- [0, -1, 1.5, :all, 2 ** 70] do
        assert_raise ArgumentError, ~r/Mlx.compile: expected :keep to be nil or an integer/, fn ->
          Mlx.compile(&Mlx.negate/1, keep: keep)
        end
      end
    end

    test "takes arrays from outside as they are" do
      y = Mlx.add(Mlx.array([1.0, 2.0]), 1.0)
      fun = Mlx.compile(fn x -> Mlx.add(Mlx.multiply(x, y), Mlx.multiply(y, y)) end)
      for _ <- 1..3, do: assert(Mlx.to_list(fun.(Mlx.array(2.0))) == [8.0, 15.0])
    end

    test "is called by many processes at once" do
      fun = Mlx.compile(fn x, y -> Mlx.sum(Mlx.multiply(Mlx.add(x, y), y)) end)

      for n <- 1..16 do
        Task.async(fn -> for i <- 1..100, do: {n, i, number(fun.(Mlx.full({4}, n), Mlx.full({4}, i)))} end)
      end
      |> Task.await_many(60_000)
      |> List.flatten()
      |> Enum.each(fn {n, i, sum} -> assert sum == 4 * (n + i) * i end)
    end

    test "is called by many processes at once, each with numbers of its own" do
      fun = Mlx.compile(fn x, n -> Mlx.sum(Mlx.multiply(Mlx.add(x, n), n)) end)

      for n <- 1..8 do
        Task.async(fn -> for i <- 1..50, do: {n, i, number(fun.(Mlx.full({4}, 1.0), n + i / 64))} end)
      end
      |> Task.await_many(60_000)
      |> List.flatten()
      |> Enum.each(fn {n, i, sum} -> assert sum == 4 * (1 + n + i / 64) * (n + i / 64) end)
    end

    test "can be switched off" do
      caller = self()
      fun = Mlx.compile(fn x -> send(caller, :called) && Mlx.add(x, 1) end)
      Mlx.disable_compile()

      try do
        for _ <- 1..2, do: assert(number(fun.(Mlx.array(1))) == 2)
        for _ <- 1..2, do: assert_received(:called)
      after
        Mlx.enable_compile()
      end

      for _ <- 1..2, do: assert(number(fun.(Mlx.array(1))) == 2)
      assert_received :called
      refute_received :called
    end

    test "raises where the function reads a value or fails" do
      assert_raise Mlx.Error, ~r/for Mlx.compile/, fn -> Mlx.compile(&number/1).(Mlx.array(1.0)) end
      assert_raise Mlx.Error, ~r/Mlx.add/, fn -> Mlx.compile(&Mlx.add/2).(Mlx.ones({2}), Mlx.ones({3})) end
    end
  end

  test "functions of any length fit on the stack on which they are transformed" do
    for length <- 20..320//20 do
      fun = fn x -> Enum.reduce(1..length, x, fn _, x -> Mlx.Fast.layer_norm(x, nil, nil) end) |> Mlx.sum() end
      assert Mlx.grad(fun).(Mlx.array([1.0, 2.0, 4.0])).shape == {3}
    end
  end

  test "a function of many operations does not overflow a stack" do
    fun = fn x -> Enum.reduce(1..20_000, x, fn _, x -> Mlx.sin(x) end) end
    x = Mlx.array(1.0)
    value = number(fun.(x))
    assert number(Mlx.compile(fun).(x)) == value
    assert number(Mlx.checkpoint(fun).(x)) == value
    assert Mlx.to_list(Mlx.vmap(fun).(Mlx.array([1.0]))) == [value]
    assert number(Mlx.grad(fun).(x)) > 0
    assert {_, product} = Mlx.jvp(fun, [x], [x])
    assert number(product) > 0
  end

  describe "derivatives of one's own" do
    test "take the place of MLX's, beside arrays from outside" do
      scale = Mlx.array([2.0, 3.0])
      factor = Mlx.add(Mlx.array(10.0), 0)

      fun =
        Mlx.custom_function(
          fn x, %{y: y} -> {Mlx.multiply(Mlx.multiply(x, y), scale), Mlx.sum(x)} end,
          vjp: fn [x, %{y: _y}], {c, _}, {_product, sum} ->
            [Mlx.multiply(Mlx.multiply(c, factor), sum), %{y: Mlx.multiply(x, 100.0)}]
          end,
          jvp: fn [_x, _], [dx, %{y: dy}] -> {Mlx.multiply(Mlx.add(dx, dy), factor), Mlx.sum(dx)} end
        )

      x = Mlx.array([1.0, 2.0])
      y = %{y: Mlx.array([5.0, 7.0])}
      {product, sum} = fun.(x, y)
      assert {Mlx.to_list(product), number(sum)} == {[10.0, 42.0], 3.0}

      loss = fn x, y -> x |> fun.(y) |> elem(0) |> Mlx.sum() end
      {dx, %{y: dy}} = Mlx.grad(loss, argnums: [0, 1]).(x, y)
      assert {Mlx.to_list(dx), Mlx.to_list(dy)} == {[30.0, 30.0], [100.0, 200.0]}

      {_, {tangent, _}} = Mlx.jvp(fun, [x, y], [x, y])
      assert Mlx.to_list(tangent) == [60.0, 90.0]
      assert Mlx.to_list(Mlx.compile(Mlx.grad(loss)).(x, y)) == [30.0, 30.0]
    end

    test "map over axes by a rule of one's own" do
      scaled =
        Mlx.custom_function(fn %{x: x}, y -> Mlx.multiply(x, y) end,
          vmap: fn [%{x: x}, y], axes ->
            assert [%{x: x_axis}, y_axis] = axes
            send(self(), {:axes, x_axis, y_axis})
            # Not what the function itself would give.
            {Mlx.add(Mlx.multiply(x, y), 100), x_axis || y_axis}
          end
        )

      fun = fn x, y -> scaled.(%{x: x}, y) end
      x = Mlx.array([1.0, 2.0])
      assert number(fun.(Mlx.array(2.0), Mlx.array(3.0))) == 6.0
      assert Mlx.to_list(Mlx.vmap(fun, in_axes: [0, nil]).(x, Mlx.array(3.0))) == [103.0, 106.0]
      assert_received {:axes, 0, nil}
      assert Mlx.to_list(Mlx.vmap(fun).(x, x)) == [101.0, 104.0]
      assert_received {:axes, 0, 0}

      columns = Mlx.array([[1.0, 2.0], [3.0, 4.0]])
      by_column = Mlx.vmap(fun, in_axes: [1, nil], out_axes: 1)
      assert Mlx.to_list(by_column.(columns, Mlx.array(1.0))) == [[101.0, 102.0], [103.0, 104.0]]
      assert_received {:axes, 1, nil}
    end

    test "map over axes inside of other transforms" do
      shifted = Mlx.custom_function(&Mlx.square/1, vmap: fn [x], [axis] -> {Mlx.add(Mlx.square(x), 10), axis} end)
      x = Mlx.array([[1.0, 2.0], [3.0, 4.0]])
      expected = [[11.0, 14.0], [19.0, 26.0]]
      assert Mlx.to_list(Mlx.vmap(Mlx.vmap(shifted)).(x)) == expected
      assert Mlx.to_list(Mlx.compile(Mlx.vmap(Mlx.vmap(shifted))).(x)) == expected
      assert Mlx.to_list(Mlx.vmap(Mlx.compile(Mlx.vmap(shifted))).(x)) == expected
      assert Mlx.to_list(Mlx.grad(fn x -> Mlx.sum(Mlx.vmap(shifted).(x)) end).(Mlx.array([1.0, 2.0]))) == [2.0, 4.0]
    end

    test "hold where MLX has no such transform of what the function does" do
      norm = fn x -> Mlx.new_axis(x, 0) |> Mlx.Linalg.svd() |> elem(1) |> Mlx.sum() end
      x = Mlx.array([3.0, 4.0])
      assert_raise Mlx.Error, ~r/SVD/, fn -> Mlx.grad(norm).(x) end
      assert_raise Mlx.Error, ~r/SVD/, fn -> Mlx.jvp(norm, [x], [x]) end

      forward = Mlx.custom_function(norm, jvp: fn [x], [t] -> Mlx.divide(Mlx.sum(Mlx.multiply(x, t)), 5) end)
      {value, tangent} = Mlx.jvp(forward, [x], [Mlx.array([1.0, 0.0])])
      assert_in_delta number(value), 5.0, 1.0e-5
      assert_in_delta number(tangent), 0.6, 1.0e-5

      backward = Mlx.custom_function(norm, vjp: fn [x], c, y -> [Mlx.multiply(c, Mlx.divide(x, y))] end)

      for gradient <- [Mlx.grad(backward), Mlx.compile(Mlx.grad(backward)), Mlx.grad(Mlx.checkpoint(backward))] do
        assert Mlx.to_number(Mlx.all_close(gradient.(x), Mlx.array([0.6, 0.8])))
        both = Mlx.vmap(gradient).(Mlx.stack([x, Mlx.multiply(x, -2)]))
        assert Mlx.to_number(Mlx.all_close(both, Mlx.array([[0.6, 0.8], [-0.6, -0.8]])))
      end
    end

    test "have results that are the same for all slices" do
      constant = Mlx.custom_function(&Mlx.square/1, vmap: fn [_], _ -> raise("has no mapped axis") end)
      fun = fn x, y -> {Mlx.add(x, constant.(y)), constant.(y)} end
      {sums, squares} = Mlx.vmap(fun, in_axes: [0, nil], out_axes: {0, 1}).(Mlx.array([1.0, 2.0]), Mlx.array([3.0]))
      assert {Mlx.to_list(sums), Mlx.to_list(squares)} == {[[10.0], [11.0]], [[9.0, 9.0]]}
    end

    test "refuse a rule that gives something else" do
      map = fn rule -> Mlx.vmap(Mlx.custom_function(&Mlx.square/1, vmap: rule)).(Mlx.array([1.0, 2.0])) end
      assert_raise ArgumentError, ~r/has to return a result and its axes/, fn -> map.(fn [x], _ -> x end) end
      assert_raise ArgumentError, ~r/has to return arrays of the shapes/, fn -> map.(fn [x], [0] -> {x, nil} end) end
      assert_raise ArgumentError, ~r/has the axis 3/, fn -> map.(fn [x], [0] -> {x, 3} end) end
      assert_raise KeyError, fn -> map.(fn [_], [0] -> Keyword.fetch!([rule: 1], :other) end) end

      assert_raise ArgumentError, ~r/takes a mapped array from outside/, fn ->
        Mlx.vmap(fn y ->
          Mlx.custom_function(&Mlx.multiply(&1, y), vmap: fn [x], [axis] -> {x, axis} end).(Mlx.add(y, 1))
        end).(Mlx.array([1.0, 2.0]))
      end
    end

    test "must have the form of what they are derivatives of" do
      fun = Mlx.custom_function(&Mlx.square/1, vjp: fn [_], _, _ -> [Mlx.zeros({3})] end)
      assert_raise ArgumentError, ~r/expected cotangents/, fn -> Mlx.grad(fun).(Mlx.array(1.0)) end
    end

    test "do not change what a checkpoint gives" do
      layer = fn w, x -> Mlx.tanh(Mlx.matmul(x, w)) end
      loss = fn layer -> fn w, x -> Mlx.sum(layer.(w, layer.(w, x))) end end
      {w, x} = {Mlx.array([[0.1, 0.2], [0.3, 0.4]]), Mlx.array([[1.0, 2.0]])}
      plain = Mlx.grad(loss.(layer), argnums: [0, 1]).(w, x)
      again = Mlx.grad(loss.(Mlx.checkpoint(layer)), argnums: [0, 1]).(w, x)
      for i <- 0..1, do: assert(Mlx.to_list(elem(plain, i)) == Mlx.to_list(elem(again, i)))
    end
  end

  describe "an array of a recorded function" do
    test "can outlive it where it has a value" do
      Mlx.grad(fn x -> send(self(), Mlx.add(x, 1)) end).(Mlx.array(2.0))
      assert_received array
      assert number(Mlx.multiply(array, 2)) == 6.0
    end

    test "raises afterwards where it has none" do
      Mlx.vmap(fn x -> send(self(), Mlx.add(x, 1)) end).(Mlx.ones({2}))
      assert_received array
      assert_raise Mlx.Error, ~r/Mlx.vmap, which has ended/, fn -> Mlx.multiply(array, 2) end
      assert_raise Mlx.Error, ~r/Mlx.vmap/, fn -> Mlx.to_number(array) end
    end

    test "can be used by another process" do
      fun = fn x -> Task.await(Task.async(fn -> Mlx.square(x) end)) end
      assert number(Mlx.grad(fun).(Mlx.array(3.0))) == 6.0
    end
  end
end
