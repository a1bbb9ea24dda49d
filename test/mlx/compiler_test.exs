if Code.ensure_loaded?(Nx) do
  defmodule Mlx.CompilerTest do
    use ExUnit.Case, async: true

    import Nx.Defn

    alias Nx.Defn.Composite

    doctest Mlx.Compiler

    # What the compiler gives, which has to be what Nx's evaluator gives.
    defp check(fun, arguments) do
      compiled = Nx.Defn.jit_apply(fun, arguments, compiler: Mlx)

      expected =
        Nx.with_default_backend(Nx.BinaryBackend, fn ->
          Nx.Defn.jit_apply(fun, arguments, compiler: Nx.Defn.Evaluator)
        end)

      Enum.zip_with(Composite.flatten_list([compiled]), Composite.flatten_list([expected]), &assert_equal/2)
      compiled
    end

    defp assert_equal(a, b) do
      assert {a.shape, a.type, a.names, a.vectorized_axes} == {b.shape, b.type, b.names, b.vectorized_axes}
      [a, b] = for tensor <- [a, b], do: tensor |> Nx.backend_copy(Nx.BinaryBackend) |> Nx.devectorize()
      assert Nx.to_number(Nx.all_close(a, b, rtol: 1.0e-4, atol: 1.0e-5, equal_nan: true)) == 1, inspect({a, b})
    end

    defp x, do: Nx.tensor([1.0, -2.0, 3.0], backend: Nx.BinaryBackend)

    describe "constructs" do
      defn(containers(%{a: a, b: {b, c}}), do: %{sum: {a + b, c}, constant: 1, nested: %{product: a * b}})

      defn(vectorized(x, y), do: Nx.sum(x * y, axes: [0]))

      test "containers, names and vectorized tensors" do
        check(&containers/1, [%{a: x(), b: {Nx.tensor(2), Nx.tensor([[1]], names: [:x, :y])}}])
        rows = Nx.tensor([[1.0, 2.0], [3.0, 4.0]]) |> Nx.vectorize(:rows)
        check(&vectorized/2, [rows, Nx.tensor([10.0, 1.0])])
      end

      defn random_sum(key) do
        {values, key} = Nx.Random.uniform(key, shape: {8})
        {Nx.sum(values), key}
      end

      defn with_constants(x, y) do
        ones = Nx.broadcast(1, x)
        halves = Nx.broadcast(0.5, x)

        {ones - y, Nx.select(x > y, y, ones), Nx.select(x > 0, halves, ones), Nx.pow(halves, x), ones + ones,
         Nx.max(3, y)}
      end

      test "constants as large as what they are used for" do
        check(&with_constants/2, [Nx.iota({2, 3}), 2])
        check(&with_constants/2, [Nx.iota({2, 3}, type: :u8), Nx.tensor([[1.5], [4.0]])])
      end

      test "random numbers and what has no argument" do
        check(&random_sum/1, [Nx.Random.key(7)])
        check(fn -> Nx.iota({3}) |> Nx.add(1) end, [])
      end

      defn(derivative(x), do: grad(x, fn x -> Nx.sum(Nx.exp(x) * Nx.sin(x)) end))

      defn through_loop(x) do
        grad(x, fn x ->
          {_, y} =
            while {i = 0, x}, i < 3 do
              {i + 1, x * Nx.cos(x)}
            end

          Nx.sum(y)
        end)
      end

      test "derivatives, also through loops" do
        check(&derivative/1, [x()])
        check(&through_loop/1, [x()])
      end

      test "linear algebra, which Nx composes of loops where MLX has nothing" do
        matrix = Nx.tensor([[4.0, 1.0, 0.0], [1.0, 3.0, 1.0], [0.0, 1.0, 2.0]])
        check(&Nx.LinAlg.cholesky/1, [matrix])
        check(&Nx.LinAlg.invert/1, [matrix])
        check(&Nx.LinAlg.determinant/1, [matrix])
        check(&Nx.LinAlg.norm/1, [matrix])
      end

      test "functions that Elixir calls for each element" do
        check(fn x -> Nx.reduce(x, 0.0, fn a, b -> Nx.add(Nx.abs(a), b) end) end, [x()])
        check(fn x -> Nx.window_reduce(x, 0.0, {2}, fn a, b -> Nx.max(a, b) end) end, [x()])
      end

      test "calls at run time" do
        double = fn {a, b}, factor -> {Nx.multiply(a, factor), Nx.add(b, 1)} end

        fun = fn x ->
          {a, b} = Nx.runtime_call({x, Nx.sum(x)}, {Nx.sin(x), Nx.sum(x)}, 2, double)
          Nx.add(a, b)
        end

        check(fun, [x()])
        wrong = fn x -> Nx.runtime_call(x, x, [], fn _x, _options -> Nx.tensor(1) end) end
        message = ~r/^Nx.runtime_call: #Function<.*> returned s32 \{\}, and its output template says f32 \{3\}$/
        assert_raise RuntimeError, message, fn -> Nx.Defn.jit_apply(wrong, [Nx.tensor([1.0, 2, 3])], compiler: Mlx) end
      end
    end

    describe "switched off by Mlx.disable_compile/0" do
      # Mlx.disable_compile/0 is for all processes, so that another machine has to be asked.
      test "definitions are evaluated, and no kernel is made" do
        folder = Path.join(System.tmp_dir!(), "mlx_kernels_#{System.unique_integer([:positive])}")
        File.mkdir_p!(folder)
        on_exit(fn -> File.rm_rf!(folder) end)

        code =
          quote do
            {:ok, _} = Application.ensure_all_started([:nx, :mlx])
            fun = fn x -> Nx.add(Nx.sin(x), Nx.cos(Nx.multiply(x, 2))) end
            x = Nx.iota({100}, type: :f32, backend: Nx.BinaryBackend)
            compiled = Nx.Defn.compile(fun, [x], compiler: Mlx)
            kernels = fn -> length(Path.wildcard(System.tmp_dir!() <> "/mlx/**/*.so")) end
            Mlx.disable_compile()
            for _ <- 1..3, call <- [compiled, Nx.Defn.jit(fun, compiler: Mlx)], do: call.(x)
            later = Nx.Defn.compile(fun, [x], compiler: Mlx)
            %Nx.Tensor{data: %Mlx.Backend{lazy: false}} = later.(x)
            %Nx.Tensor{data: %Mlx.Backend{lazy: true}} = Nx.Defn.jit_apply(fun, [x], compiler: Mlx, lazy: true)
            IO.write(kernels.())
            Mlx.enable_compile()
            for _ <- 1..3, do: Nx.to_binary(later.(x))
            IO.write(" #{kernels.()}")
          end

        assert {:exit, 0, "0 1"} = Mlx.ChildVM.run(code, env: [{"TMPDIR", folder}])
      end
    end

    describe "arguments" do
      defmodule Lazy do
        defstruct [:used, :unused]

        defimpl Nx.LazyContainer do
          def traverse(%{used: used, unused: unused}, acc, fun) do
            {used, acc} = fun.(Nx.to_template(used), fn -> used end, acc)
            {unused, acc} = fun.(Nx.to_template(unused), fn -> raise "nobody needs this" end, acc)
            {{used, unused}, acc}
          end
        end
      end

      test "that are not used are not asked for" do
        lazy = %Lazy{used: x(), unused: Nx.tensor(1)}

        assert Nx.to_flat_list(Nx.Defn.jit_apply(fn {a, _} -> Nx.add(a, 1) end, [lazy], compiler: Mlx)) == [
                 2.0,
                 -1.0,
                 4.0
               ]

        only_shape = Nx.Defn.jit_apply(fn {_, b} -> Nx.rank(b) end, [lazy], compiler: Mlx)
        assert Nx.to_number(only_shape) == 0
      end

      test "of a type that MLX lacks are Nx's to compute" do
        numbers = Nx.tensor([Complex.new(1.0, 2.0), Complex.new(-3.0, 0.5)], type: :c128, backend: Nx.BinaryBackend)
        check(fn numbers, x -> {Nx.multiply(numbers, numbers), Nx.sum(x)} end, [numbers, x()])
      end

      test "may be as many ways into an expression as there are" do
        doubled = fn x -> Enum.reduce(1..45, x, fn _, x -> Nx.add(x, x) end) end
        expression = Nx.Defn.debug_expr(doubled).(x())
        result = Nx.Defn.jit_apply(fn _x -> expression end, [x()], compiler: Mlx)
        assert Nx.to_flat_list(result) == for(number <- Nx.to_flat_list(x()), do: number * 2 ** 45)
      end
    end

    describe "branches" do
      defn three(x, y) do
        cond do
          Nx.sum(x) > 10 -> {Nx.sin(x), y}
          Nx.sum(x) < -10 -> {Nx.cos(x), y + 1}
          true -> {x - y, y * 2}
        end
      end

      test "take the first clause that is true" do
        for factor <- [1, 10, -10], do: check(&three/2, [Nx.multiply(x(), factor), 1.0])
      end

      defn shared(x) do
        y = Nx.exp(x)
        z = if Nx.sum(x) > 0, do: y + 1, else: y - x
        {y, z, if(Nx.all(x == x), do: {x, y}, else: {y, x})}
      end

      test "share with what is around them" do
        for factor <- [1, -1], do: check(&shared/1, [Nx.multiply(x(), factor)])
      end

      defn taken(x) do
        if x > 0 do
          hook(x, :positive, &send_value/1)
        else
          hook(x - 1, :negative, &send_value/1)
        end
      end

      defp send_value(tensor), do: send(self(), {:value, Nx.to_number(tensor)})

      test "give hooks the names of vectorized axes" do
        rows = Nx.tensor([[1], [2]], names: [nil, :column]) |> Nx.vectorize(:row)
        hooked = fn tensor -> send(self(), {:names, tensor.names}) end
        Nx.Defn.jit_apply(fn rows -> Nx.Defn.Kernel.hook(Nx.devectorize(rows), hooked) end, [rows], compiler: Mlx)
        assert_received {:names, [:row, :column]}
      end

      test "compute only what is taken" do
        assert Nx.to_number(Nx.Defn.jit_apply(&taken/1, [3], compiler: Mlx)) == 3
        assert_received {:value, 3}
        assert Nx.to_number(Nx.Defn.jit_apply(&taken/1, [-3], compiler: Mlx)) == -4
        assert_received {:value, -4}
        refute_received {:value, _}
      end

      defn used_by_another(x) do
        y = if x > 0, do: x, else: hook(x - 1, :negative, &send_value/1)
        {if(x > 1, do: y * 2, else: y), y}
      end

      test "compute only what is taken, when another one uses the result" do
        assert {six, three} = Nx.Defn.jit_apply(&used_by_another/1, [3], compiler: Mlx)
        assert {6, 3} = {Nx.to_number(six), Nx.to_number(three)}
        refute_received {:value, _}
        check(&used_by_another/1, [-3])
        for _compiler <- 1..2, do: assert_received({:value, -4})
      end

      defn sum_of(x, which) do
        cond do
          which == 0 -> {Nx.reduce(x, 0, &Nx.add/2), x}
          which == 1 -> {Nx.sum(x), Nx.window_reduce(x, 0, {2}, [padding: :same], &Nx.max/2)}
          true -> {Nx.reduce_max(x), -x}
        end
      end

      test "have functions that Elixir calls for each element" do
        for which <- 0..2, do: check(&sum_of/2, [x(), which])
      end

      defn(constant(x), do: if(1, do: x + if(0, do: 1, else: 2), else: x))

      test "may depend on constants only" do
        check(&constant/1, [x()])
      end
    end

    describe "loops" do
      defn count(x, n) do
        {_, x, _} =
          while {i = 0, x, n}, i < n do
            {i + 1, x * 2 + 1, n}
          end

        x
      end

      defn over_rows(t) do
        while sum = 0.0, row <- t do
          sum + Nx.sum(row) * Nx.cos(sum)
        end
      end

      defn constants do
        {i, sum} =
          while {i = 0, sum = 0}, i < 5 do
            {i + 1, sum + i}
          end

        i + sum
      end

      test "run as often as they have to" do
        for n <- [0, 1, 5], do: check(&count/2, [x(), n])
        check(&over_rows/1, [Nx.iota({4, 3}, type: :f32)])
        check(&constants/0, [])
      end

      defn endless(x) do
        while x, x > 0 do
          x
        end
      end

      defn count_by(x, opts \\ []) do
        {i, x} =
          while {i = number(opts[:from], opts[:type]), x}, i < opts[:to] do
            {i + number(opts[:step], opts[:type]), x * 2 + i}
          end

        {x, _} = while({x, j = opts[:from]}, j <= opts[:to], do: {x - j, j + opts[:step]})
        {i, x}
      end

      deftransformp(number(number, type), do: Nx.tensor(number, type: type))

      defn each_element(x) do
        {sum, _} =
          while {sum = 0.0, x}, y <- x do
            {sum, _} =
              while {sum, y}, z <- x do
                {sum * 0.5 + y * z, y}
              end

            {sum, x}
          end

        sum
      end

      test "with few rounds become a part of what is around them, with many they do not" do
        for {from, to, step} <- [{0, 3, 1}, {1, 12, 5}, {2, 2, 1}, {5, 1, 1}, {0, 100, 1}, {0, 126, 3}],
            type <- [:u8, :s8, :s32] do
          check(&count_by(&1, from: from, to: to, step: step, type: type), [x()])
        end

        for {x, few?} <- [{x(), true}, {Nx.iota({6}, type: :f32), true}, {Nx.iota({40}, type: :f32), false}] do
          check(&each_element/1, [x])
          # A native loop has run when it returns.
          lazy = Nx.Defn.jit_apply(&each_element/1, [x], compiler: Mlx, lazy: true)
          assert Mlx.export_to_dot(Mlx.Nx.from_nx(lazy)) =~ "Multiply" == few?
        end

        # 127 is not more than 127, and 127 + 1 is -128: it never ends.
        endless = &count_by(&1, from: 126, to: 127, step: 2, type: :s8)
        task = Task.async(fn -> Nx.Defn.jit_apply(endless, [x()], compiler: Mlx) end)
        assert Task.yield(task, 100) == nil
        Task.shutdown(task, :brutal_kill)
      end

      defn one_round(x, opts \\ []) do
        {_, x} = while({i = 0, x}, i < 1, do: {i + 1, nested(x, opts[:depth])})
        x
      end

      deftransformp(nested(x, 0), do: Nx.add(x, 1))
      deftransformp(nested(x, depth), do: one_round(x, depth: depth - 1))

      # Each level was looked at once for each level around it and once more: 2 ** 70 times.
      @tag timeout: 20_000
      test "as deep as they may be take the time of their number" do
        assert Nx.to_number(Nx.Defn.jit_apply(&one_round(&1, depth: 70), [1], compiler: Mlx)) == 2
      end

      test "end with the process that waits for them" do
        {pid, monitor} = spawn_monitor(fn -> Nx.Defn.jit_apply(&endless/1, [1], compiler: Mlx) end)
        Process.sleep(100)
        Process.exit(pid, :kill)
        assert_receive {:DOWN, ^monitor, :process, ^pid, :killed}
      end
    end

    describe "every construct in every other" do
      defn while_in_cond_in_while(x, n) do
        {x, _, _} =
          while {x, i = 0, n}, i < n do
            x =
              if Nx.remainder(i, 2) == 0 do
                {x, _} =
                  while {x, j = 0}, j < 3 do
                    {x + j, j + 1}
                  end

                x
              else
                x * 2
              end

            {x, i + 1, n}
          end

        x
      end

      defn cond_in_while_in_cond(x) do
        if Nx.sum(x) > 0 do
          {x, _} =
            while {x, i = 0}, i < 4 do
              y =
                cond do
                  i == 0 -> %{v: x + 1, w: {x, i}}
                  i == 1 -> %{v: x * 2, w: {x, i + 1}}
                  true -> %{v: Nx.sin(x), w: {Nx.cos(x), i}}
                end

              {y.v + elem(y.w, 0) + elem(y.w, 1), i + 1}
            end

          x
        else
          -x
        end
      end

      defn hooks_everywhere(x) do
        x = hook(x, :outside)

        {x, _} =
          while {x, i = 0}, i < 2 do
            x = if i == 0, do: hook(x + 1, :first), else: hook(x * 2, :second)
            {hook(x, :each), i + 1}
          end

        hook(x * 3, :last)
      end

      test "loops, branches and containers" do
        for n <- 0..4, do: check(&while_in_cond_in_while/2, [x(), n])
        for factor <- [1, -1], do: check(&cond_in_while_in_cond/1, [Nx.multiply(x(), factor)])
      end

      test "hooks, in the order of computation" do
        caller = self()
        names = [:outside, :first, :second, :each, :last]
        hooks = for name <- names, into: %{}, do: {name, &send(caller, {name, Nx.to_flat_list(&1)})}
        result = Nx.Defn.jit_apply(&hooks_everywhere/1, [Nx.tensor([1.0])], compiler: Mlx, hooks: hooks)
        assert Nx.to_flat_list(result) == [12.0]

        expected = [outside: [1.0], first: [2.0], each: [2.0], second: [4.0], each: [4.0], last: [12.0]]
        assert for(_ <- expected, do: receive(do: (message -> message))) == expected
      end

      test "an exception of a hook keeps its stack trace, and leaves nothing behind" do
        hook = fn _tensor -> raise KeyError, key: :gone, term: %{} end

        assert_raise KeyError, fn ->
          Nx.Defn.jit_apply(&hooks_everywhere/1, [Nx.tensor([1.0])], compiler: Mlx, hooks: %{first: hook})
        end

        assert {:messages, []} = Process.info(self(), :messages)
      end
    end

    describe "what was compiled" do
      test "is traced once for each kind of arguments" do
        caller = self()

        fun = fn x ->
          send(caller, :traced)
          Nx.multiply(x, 2)
        end

        for _ <- 1..3, do: Nx.Defn.jit(fun, compiler: Mlx).(Nx.tensor([1, 2]))
        for _ <- 1..3, do: Nx.Defn.jit(fun, compiler: Mlx).(Nx.tensor([1.0]))
        for _ <- 1..2, do: assert_received(:traced)
        refute_received :traced
        Task.await(Task.async(fn -> Nx.Defn.jit(fun, compiler: Mlx).(Nx.tensor([1, 2])) end))
        refute_received :traced
      end

      test "is not another for options that libraries hand on" do
        caller = self()
        fun = fn x -> send(caller, :traced) && x end
        for mode <- [:train, :inference], do: Nx.Defn.jit_apply(fun, [x()], compiler: Mlx, mode: mode, debug: true)
        assert_received :traced
        refute_received :traced
      end

      test "is called by many processes at once" do
        expected = check(&while_in_cond_in_while/2, [x(), 4]) |> Nx.to_flat_list()

        1..16
        |> Task.async_stream(fn _ ->
          for _ <- 1..20, do: Nx.Defn.jit_apply(&while_in_cond_in_while/2, [x(), 4], compiler: Mlx) |> Nx.to_flat_list()
        end)
        |> Enum.each(fn {:ok, results} -> assert Enum.uniq(results) == [expected] end)
      end

      test "can be compiled ahead, and serves batches" do
        fun = Nx.Defn.compile(&count/2, [Nx.template({3}, :f32), Nx.template({}, :s32)], compiler: Mlx)
        assert Nx.to_flat_list(fun.(x(), 2)) == [7.0, -5.0, 15.0]
        assert {Mlx.Backend, []} = Nx.Defn.to_backend(compiler: Mlx)
        serving = Nx.Serving.jit(&Nx.multiply(&1, 2), compiler: Mlx)
        assert Nx.to_list(Nx.Serving.run(serving, Nx.Batch.stack([x(), x()]))) == List.duplicate([2.0, -4.0, 6.0], 2)
      end

      test "is part of what records it" do
        fun = Nx.Defn.jit(&derivative/1, compiler: Mlx)
        mlx = fn x -> x |> Mlx.Nx.to_nx(lazy: true) |> fun.() |> Mlx.Nx.from_nx() |> Mlx.sum() end
        x = Mlx.array([1.0, 2.0])
        step = 1.0e-3
        [first, _] = Mlx.to_list(Mlx.grad(mlx).(x))
        {above, below} = {mlx.(Mlx.array([1 + step, 2.0])), mlx.(Mlx.array([1 - step, 2.0]))}
        assert_in_delta first, (Mlx.to_number(above) - Mlx.to_number(below)) / (2 * step), 0.05
      end
    end

    describe "compiled by MLX" do
      alias Mlx.ChildVM

      test "is what is called a second time, also where nothing else is compiled" do
        code =
          quote do
            {:ok, _started} = Application.ensure_all_started(:nx)
            fun = Nx.Defn.jit(&Nx.add(Nx.multiply(&1, 2.0), 1), compiler: Mlx, lazy: true)

            for _call <- 1..2 do
              dot = Nx.tensor([1.0], backend: Mlx.Backend) |> fun.() |> Mlx.Nx.from_nx() |> Mlx.export_to_dot()
              IO.inspect(dot =~ "Compiled")
            end
          end

        assert {:exit, 0, "false\ntrue\n"} = ChildVM.run(code)
      end

      defn approach(x, n) do
        {_, x, _} =
          while {i = 0, x, n}, i < n do
            y = Nx.cos(x) * 0.9 + 0.1
            y = if Nx.any(y > 0.9), do: halve(y), else: y + 0.05
            {i + 1, Nx.sin(y) * 2, n}
          end

        x
      end

      # A loop that depends on values, so that it cannot be computed in vain.
      defnp halve(y) do
        while y, Nx.any(y > 0.5) do
          y / 2
        end
      end

      test "is the body of a long loop, and what is before and after its branches" do
        check(&count/2, [x(), 100])
        check(&approach/2, [x(), 1100])
      end

      # What MLX computes, before it compiles anything.
      defp primitives(fun, arguments) do
        lazy = Nx.Defn.jit_apply(fun, arguments, compiler: Mlx, lazy: true)
        dot = [lazy] |> Composite.flatten_list() |> Enum.map(&Mlx.Nx.from_nx/1) |> Mlx.export_to_dot()
        for [_, name] <- Regex.scan(~r/label ="(\w+)/, dot), do: name
      end

      defn gradient_in_branch(x) do
        grad(x, fn x -> if Nx.sum(x) > 0, do: Nx.sum(Nx.sigmoid(x) * Nx.rsqrt(x)), else: Nx.sum(Nx.sigmoid(x)) end)
      end

      test "gradients are computed without what they do not need" do
        gradient = fn fun -> fn x -> Nx.Defn.grad(x, &Nx.sum(fun.(&1))) end end

        for {fun, dearer} <- [{&Nx.sigmoid/1, "Exp"}, {&Nx.rsqrt/1, "Power"}] do
          check(gradient.(fun), [Nx.tensor([0.5, 1.0, 3.0])])
          without = fn -> primitives(gradient.(fun), [Nx.tensor([0.5, 1.0])]) end
          assert dearer not in without.()
          assert dearer not in Nx.with_default_backend(Mlx.Backend, without)
        end

        for x <- [[0.5, 3.0], [-4.0, 3.0]], do: check(&gradient_in_branch/1, [Nx.tensor(x)])

        # Its loops have numbers of f64 where their initial state is a 0 of f32, which Nx.BinaryBackend takes for each other.
        eigh = gradient.(fn x -> x |> Nx.LinAlg.eigh() |> then(fn {a, b} -> Nx.add(a, Nx.sum(Nx.cos(b))) end) end)

        for type <- [:f32, :f64] do
          x = Nx.tensor([[1.0, 0.5, 0.1], [0.5, 3.0, 0.2], [0.1, 0.2, 7.0]], type: type, backend: Mlx.Backend)

          compiled = Nx.Defn.jit_apply(eigh, [x], compiler: Mlx)
          evaluate = fn -> Nx.Defn.jit_apply(eigh, [x], compiler: Nx.Defn.Evaluator) end
          assert_equal(compiled, Nx.with_default_backend(Mlx.Backend, evaluate))
        end

        # Where Nx's own gradient is not a number.
        assert %Nx.Tensor{} = given = Nx.Defn.jit_apply(gradient.(&Nx.sigmoid/1), [Nx.tensor([-100.0])], compiler: Mlx)
        assert [derivative] = Nx.to_flat_list(given)
        assert_in_delta derivative, 0, 1.0e-40

        # Other products and powers are what they are.
        check(fn x -> Nx.multiply(Nx.exp(Nx.negate(x)), Nx.sigmoid(Nx.add(x, 1))) end, [Nx.tensor([-0.5, 2.0])])
        check(&Nx.pow(&1, -2.5), [Nx.tensor([0.5, 2.0])])
      end

      test "indices along one axis are all that its gradient needs" do
        x = Nx.iota({3, 4, 2}, type: :f32)

        for axis <- 0..2, size <- [1, 5] do
          indices = {3, 4, 2} |> put_elem(axis, size) |> Nx.iota() |> Nx.multiply(7) |> Nx.remainder(2)
          taken = fn x, i -> Nx.Defn.grad(x, &Nx.sum(Nx.sin(Nx.take_along_axis(&1, i, axis: axis)))) end
          check(taken, [x, indices])
          assert "ScatterAxis" in primitives(taken, [x, indices])
          refute "Concatenate" in primitives(taken, [x, indices])
        end

        # Indices into several axes.
        for {columns, update} <- [{[0, 1], {6}}, {[1, 0], {6}}] do
          indices = fn i ->
            columns |> Enum.map(&if(&1 == 0, do: i, else: Nx.iota({6, 1}))) |> Nx.concatenate(axis: 1)
          end

          added = fn x, i -> Nx.indexed_add(x, indices.(i), Nx.broadcast(1.0, update)) end
          check(added, [Nx.iota({6, 6}, type: :f32), Nx.tensor([[5], [3], [3], [0], [1], [2]])])
        end
      end

      test "products that are used transposed come out in that order" do
        names = fn fun ->
          arguments = [Nx.iota({2, 3}, type: :f32), Nx.iota({3, 4}, type: :f32)]
          check(fun, arguments)
          Enum.filter(primitives(fun, arguments), &(&1 in ["Matmul", "Transpose"]))
        end

        # The operands are transposed instead, which costs nothing.
        assert Enum.count(names.(&Nx.add(Nx.transpose(Nx.dot(&1, &2)), 1)), &(&1 == "Transpose")) == 2
        both = fn a, b -> {Nx.dot(a, b), Nx.transpose(Nx.dot(a, b))} end
        assert Enum.count(names.(both), &(&1 == "Matmul")) == 2

        shared = fn a, b ->
          product = Nx.dot(a, b)
          {product, Nx.transpose(product)}
        end

        assert names.(shared) == ["Matmul", "Transpose"]
      end
    end

    describe "donated arguments" do
      defp step(weights, gradient, rate), do: {Nx.sum(gradient), Nx.subtract(weights, Nx.multiply(gradient, rate))}

      test "are gone after the call, and others are not" do
        for run <- [
              fn arguments -> Nx.Defn.jit_apply(&step/3, arguments, compiler: Mlx, donate: [0, 2]) end,
              fn arguments -> apply(Nx.Defn.compile(&step/3, arguments, compiler: Mlx, donate: [0, 2]), arguments) end
            ],
            _call <- 1..2 do
          [weights, gradient, rate] =
            arguments = for numbers <- [[1.0, 2.0], [3.0, 4.0], 0.5], do: Nx.tensor(numbers, backend: Mlx.Backend)

          assert {sum, updated} = run.(arguments)
          assert {Nx.to_number(sum), Nx.to_flat_list(updated)} == {7.0, [-0.5, 0.0]}
          assert Nx.to_flat_list(gradient) == [3.0, 4.0]
          for donated <- [weights, rate], do: assert_raise(ArgumentError, ~r/deallocated/, fn -> Nx.add(donated, 1) end)
        end
      end

      test "stay where the call is recorded, and where it raises" do
        weights = Nx.tensor([1.0, 2.0], backend: Mlx.Backend)
        donating = Nx.Defn.jit(fn weights, x -> Nx.multiply(weights, x) end, compiler: Mlx, donate: [0])
        through = fn x -> weights |> donating.(Mlx.Nx.to_nx(x, lazy: true)) |> Mlx.Nx.from_nx() |> Mlx.sum() end
        assert through |> Mlx.grad() |> apply([Mlx.array([3.0, 3.0])]) |> Mlx.to_list() == [1.0, 2.0]

        raising = fn weights -> Nx.Defn.Kernel.hook(weights, fn _weights -> raise "no" end) end
        assert_raise RuntimeError, "no", fn -> Nx.Defn.jit_apply(raising, [weights], compiler: Mlx, donate: [0]) end
        assert Nx.to_flat_list(weights) == [1.0, 2.0]
      end
    end

    describe "random expressions" do
      @unary [:sin, :cos, :tanh, :sigmoid, :negate, :abs, :floor, :erf]
      @binary [:add, :subtract, :multiply, :max, :min, :atan2]

      # A definition of nested operations, branches and loops over three tensors.
      defp random(0, x, y, z), do: Enum.random([x, y, z])

      defp random(depth, x, y, z) do
        next = fn -> random(depth - 1, x, y, z) end

        case :rand.uniform(6) do
          1 -> apply(Nx, Enum.random(@unary), [next.()])
          2 -> apply(Nx, Enum.random(@binary), [next.(), next.()])
          3 -> Nx.select(Nx.greater(next.(), next.()), next.(), next.())
          4 -> Nx.sum(next.(), axes: [0], keep_axes: true) |> Nx.add(next.())
          5 -> branch(Nx.greater(Nx.sum(next.()), 0), next.(), next.())
          6 -> repeat(next.(), next.())
        end
      end

      defnp branch(predicate, a, b) do
        if predicate, do: a + 1, else: b * 2
      end

      defnp repeat(a, b) do
        {a, _, _} =
          while {a, b, i = 0}, i < 2 do
            {Nx.sin(a) + b, b, i + 1}
          end

        a
      end

      test "give what Nx's own evaluator gives" do
        count = String.to_integer(System.get_env("MLX_COMPILER_EXPRESSIONS", "300"))
        tensors = for seed <- 1..3, do: Nx.Random.key(seed) |> Nx.Random.normal(shape: {4, 3}) |> elem(0)

        for seed <- 1..count do
          # The definition is made twice, for the two compilers.
          fun = fn x, y, z ->
            :rand.seed(:exsss, {seed, 1, 1})
            shape = Nx.broadcast(0.0, {4, 3})
            Nx.add(random(4, x, y, z), shape)
          end

          check(fun, tensors)
        end
      end
    end
  end
end
