if Code.ensure_loaded?(Nx) do
  defmodule Mlx.BackendTest do
    # Nx's own tests run with this backend, too (bin/nx_conformance). Here is what they do not ask.
    use ExUnit.Case, async: false

    import ExUnit.CaptureLog

    alias Mlx.{Backend, Native, TelemetryEvents}

    doctest Mlx.Backend
    doctest Mlx.Nx

    setup do
      Nx.default_backend(Backend)
      :ok
    end

    defp with_config(key, value) do
      Application.put_env(:mlx, key, value)
      on_exit(fn -> Application.delete_env(:mlx, key) end)
    end

    test "has every callback of the behaviour" do
      for {name, arity} <- Nx.Backend.behaviour_info(:callbacks) do
        assert function_exported?(Backend, name, arity), "#{name}/#{arity} is missing"
      end
    end

    describe "what stops the process elsewhere" do
      test "an index far out of bounds is clamped" do
        t = Nx.tensor([1, 2, 3])
        assert Nx.to_list(Nx.take(t, Nx.tensor([1_000_000_000, 0]))) == [3, 1]
        assert Nx.to_list(Nx.gather(t, Nx.tensor([[1_000_000_000]]))) == [3]
        assert Nx.to_list(Nx.take_along_axis(t, Nx.tensor([1_000_000_000]))) == [3]
        assert Nx.to_list(Nx.indexed_add(t, Nx.tensor([[1_000_000_000]]), Nx.tensor([10]))) == [1, 2, 13]
        assert Nx.to_list(Nx.indexed_put(t, Nx.tensor([[-1_000_000_000]]), Nx.tensor([10]))) == [10, 2, 3]
        assert Nx.to_list(Nx.slice(t, [Nx.tensor(1_000_000_000)], [2])) == [2, 3]
        assert Nx.to_list(Nx.put_slice(t, [Nx.tensor(-1_000_000_000)], Nx.tensor([7, 8]))) == [7, 8, 3]
      end

      test "an index out of bounds raises where the application has them checked" do
        with_config(:bounds_check, :raise)
        t = Nx.iota({2, 3})
        message = "index 3 is out of bounds for axis 1 in shape {2, 3}"
        assert_raise ArgumentError, message, fn -> Nx.take(t, Nx.tensor([3]), axis: 1) end
        assert_raise ArgumentError, message, fn -> Nx.gather(t, Nx.tensor([[1, 3]])) end
        assert_raise ArgumentError, ~r/index -1 is out of bounds/, fn -> Nx.take(t, Nx.tensor([-1])) end
        # Those of a compiled definition have no values when it is made.
        take = Nx.Defn.jit(fn t, indices -> Nx.take(t, Nx.add(indices, 1)) end, compiler: Mlx)
        assert Nx.to_list(take.(Nx.tensor([1, 2, 3]), Nx.tensor([0, 100]))) == [2, 3]
      end

      test "integers are divided by 0" do
        a = Nx.tensor([7, -7, 0])
        assert Nx.to_list(Nx.quotient(a, 0)) == [0, 0, 0]
        assert Nx.to_list(Nx.remainder(a, 0)) == [7, -7, 0]
        least = Nx.tensor([-0x80000000])
        assert Nx.to_list(Nx.quotient(least, -1)) == [-0x80000000]
        assert Nx.to_list(Nx.remainder(least, -1)) == [0]
      end

      test "a result that is larger than the memory raises" do
        row = Nx.iota({200_000, 1}, type: :f32)
        assert_raise Mlx.Error, fn -> Nx.add(row, Nx.transpose(row)) end
        large = Nx.broadcast(1.0, {1_000_000, 1_000_000})
        assert large.shape == {1_000_000, 1_000_000}
        assert_raise Mlx.Error, fn -> Nx.to_binary(large) end
      end

      test "what has no solution raises where it is made" do
        {singular, b} = {Nx.tensor([[1.0, 0.0], [1.0, 0.0]]), Nx.tensor([1.0, 2.0])}

        for solve <- [&Nx.LinAlg.solve/2, &Nx.LinAlg.triangular_solve/2],
            run <- [&apply/2, &Nx.Defn.jit_apply(&1, &2, compiler: Mlx)] do
          message = ~r/singular matrix.*Nx.LinAlg.solve\/2 or Nx.LinAlg.triangular_solve\/3/
          assert_raise Mlx.Error, message, fn -> run.(solve, [singular, b]) end
        end

        assert Nx.to_flat_list(Nx.LinAlg.invert(singular)) == [:nan, :nan, :nan, :nan]
      end
    end

    describe "eager and lazy" do
      test "results are computed as they are made" do
        t = Nx.add(Nx.iota({100_000}), 1)
        refute t.data.lazy
        assert eventually(fn -> Native.is_available(t.data.array) end)
        assert eventually(fn -> Native.is_available(Nx.sum(t).data.array) end)
      end

      test "small results are computed several at a time" do
        sums = Enum.scan(1..40, Nx.tensor(0), &Nx.add/2)

        assert Enum.map(sums, & &1.data.waiting) ==
                 Enum.to_list(1..15) ++ [0] ++ Enum.to_list(1..15) ++ [0] ++ Enum.to_list(1..8)

        assert eventually(fn -> Native.is_available(Enum.at(sums, 31).data.array) end)
        refute Native.is_available(List.last(sums).data.array)
        assert Nx.to_number(List.last(sums)) == 820
      end

      test "results of lazy tensors wait" do
        t = Nx.tensor([1, 2], backend: {Backend, lazy: true})
        sum = Nx.add(t, Nx.tensor([3, 4]))
        assert sum.data.lazy
        refute Native.is_available(sum.data.array)
        assert Nx.to_list(sum) == [4, 6]
        assert Nx.concatenate([Nx.tensor([1]), t]).data.lazy
        assert elem(Nx.LinAlg.qr(Nx.tensor([[1.0]], backend: {Backend, lazy: true})), 0).data.lazy
      end

      test "unknown options are refused" do
        assert_raise ArgumentError, fn -> Nx.tensor(1, backend: {Backend, Backend.init(speed: 1)}) end
      end
    end

    describe "the option :device" do
      test "places what is made, and what is computed of it" do
        Nx.default_backend({Backend, device: :cpu})
        # MLX computes f64 on the CPU only.
        t = Nx.tensor([1.0, 2.0], type: :f64)

        for result <- [
              t,
              Nx.sin(t),
              Nx.iota({2}, type: :f64),
              Nx.concatenate([Nx.tensor([1.0], backend: Backend), t]),
              Nx.LinAlg.solve(Nx.eye(2, type: :f64), t),
              Nx.slice(t, [Nx.tensor(0)], [1]),
              Nx.backend_copy(Nx.tensor([1, 2], backend: Nx.BinaryBackend), Nx.default_backend()),
              Nx.reduce(t, 0.0, &Nx.add/2),
              Nx.Defn.jit_apply(&Nx.add(Nx.cos(&1), 1), [t], compiler: Mlx)
            ] do
          assert result.data.device == :cpu
          assert is_list(Nx.to_flat_list(result))
        end

        assert Nx.Defn.jit_apply(&Nx.sin/1, [1], compiler: Mlx, device: :cpu).data.device == :cpu
        assert Nx.Defn.to_backend(compiler: Mlx, device: :cpu) == {Backend, device: :cpu}
        assert Nx.backend_copy(t, Backend).data.device == nil
      end

      test "is refused where there is no such device" do
        message = ~r/^Mlx.Backend: expected the option :device to be :cpu or :gpu, got: :tpu$/
        assert_raise ArgumentError, message, fn -> Nx.default_backend({Backend, device: :tpu}) end

        if not Mlx.Device.available?(:gpu) do
          message = ~r/^Mlx.Backend: the option device: :gpu asks for a device that is not there; .*Mlx.with_device\/2/
          assert_raise ArgumentError, message, fn -> Nx.default_backend({Backend, device: :gpu}) end
          assert_raise ArgumentError, message, fn -> Nx.tensor(1, backend: {Backend, device: :gpu}) end
          assert_raise ArgumentError, message, fn -> Nx.Defn.jit_apply(&Nx.sin/1, [1], compiler: Mlx, device: :gpu) end
        end
      end
    end

    defp eventually(condition, attempts \\ 1000) do
      cond do
        condition.() ->
          true

        attempts == 0 ->
          false

        true ->
          Process.sleep(1)
          eventually(condition, attempts - 1)
      end
    end

    describe "types" do
      test "are those of Nx in both directions" do
        for type <- Mlx.Type.all(), nx = Mlx.Type.to_nx(type) do
          t = Mlx.Nx.to_nx(Mlx.ones({2}, type: type))
          assert t.type == nx
          assert Mlx.Nx.from_nx(t).type == Mlx.Type.normalize!(nx)
          assert Mlx.Nx.from_nx(t) |> Mlx.as_type(:f32) |> Mlx.to_list() == [1.0, 1.0]
        end
      end

      test "integers of a few bits wrap around" do
        for {type, high} <- [s2: 1, s4: 7, u2: 3, u4: 15] do
          sums = for backend <- [Backend, Nx.BinaryBackend], do: sum(high, type, backend)
          assert [sum, sum] = sums
        end
      end

      defp sum(number, type, backend) do
        t = Nx.tensor([number, 1], type: type, backend: backend)
        t |> Nx.add(Nx.tensor(1, type: type, backend: backend)) |> Nx.to_binary()
      end

      test "of 8 bits with fractions keep their bits" do
        for type <- [{:f, 8}, {:f8_e4m3fn, 8}] do
          bytes = for byte <- 8..120, into: <<>>, do: <<byte, byte + 128>>
          read = bytes |> Nx.from_binary(type, backend: Nx.BinaryBackend) |> Nx.to_list()
          back = bytes |> Nx.from_binary(type) |> Nx.backend_copy(Nx.BinaryBackend) |> Nx.to_list()
          assert back == read
        end
      end

      test "sums of 16 bits do not stop at the precision of 16 bits" do
        for type <- [:f16, :bf16] do
          ones = Nx.broadcast(Nx.tensor(1, type: type), {4096})
          assert ones |> Nx.sum() |> Nx.to_number() == 4096.0
          assert ones |> Nx.window_sum({4096}) |> Nx.to_flat_list() == [4096.0]
        end
      end

      test "functions of f64 have the digits of f64" do
        numbers = [-700.1, -3.7, -0.2, 0.0, 1.0e-9, 0.3, 1.0, 2.5, 10.0, 300.0, :math.pi() / 2, 1.5707, -4.7123889]
        functions = [exp: &:math.exp/1, sin: &:math.sin/1, cos: &:math.cos/1, erf: &:math.erf/1, erfc: &:math.erfc/1]

        for {name, exact} <- functions do
          results = Nx |> apply(name, [Nx.tensor(numbers, type: :f64)]) |> Nx.to_list()

          for {number, result} <- Enum.zip(numbers, results) do
            assert abs(result - exact.(number)) <= 5.0e-15 * abs(exact.(number)), "#{name}(#{number}) = #{result}"
          end
        end

        ends = Nx.tensor([:neg_infinity, -745.0, -1.0e4, 709.7, 1.0e4, :infinity, :nan], type: :f64)
        assert [+0.0, denormal, +0.0, large, :infinity, :infinity, :nan] = ends |> Nx.exp() |> Nx.to_list()
        assert {denormal, Float.round(large / :math.exp(709.7), 14)} == {:math.exp(-745.0), 1.0}

        assert_in_delta Nx.to_number(Nx.erf(Nx.erf_inv(Nx.tensor(0.3, type: :f64)))), 0.3, 1.0e-15
      end

      test "erfc keeps the digits of small results" do
        result = 5.0 |> Nx.erfc() |> Nx.to_number()
        assert_in_delta result, :math.erfc(5.0), 1.0e-5 * :math.erfc(5.0)
      end
    end

    describe "what MLX has no operation for" do
      setup do: TelemetryEvents.receive_all()

      test "is computed, and announced" do
        t = Nx.tensor([[1, 2], [3, 4]])
        sum = Nx.reduce(t, 0, [axes: [1]], fn a, b -> Nx.add(Nx.multiply(a, 2), b) end)
        assert %Backend{} = sum.data
        assert Nx.to_list(sum) == [6, 14]
        assert_receive {[:mlx, :fallback], %{bytes: 20}, %{function: "Nx.reduce", device: :cpu}}
        assert t |> Nx.window_reduce(0, {2, 1}, fn a, b -> Nx.max(a, b) end) |> Nx.to_list() == [[3, 4]]
        assert_receive {[:mlx, :fallback], _, %{function: "Nx.window_reduce"}}
        refute_received {[:mlx, :fallback], _, _}
      end

      test "of complex numbers of 128 bits, too" do
        result = Nx.fft(Nx.tensor([1.0, 2.0], type: :f64))
        assert result.type == {:c, 128}
        assert_receive {[:mlx, :fallback], _, %{function: "Nx.fft"}}
        assert result |> Nx.real() |> Nx.to_list() == [3.0, -1.0]
        assert Nx.add(result, Nx.tensor([1.0, 1.0])) |> Nx.real() |> Nx.to_list() == [4.0, 0.0]
        assert_receive {[:mlx, :fallback], _, %{function: "Nx.add"}}
      end

      test "is logged or forbidden where the application wants that" do
        reduce = fn -> Nx.reduce(Nx.tensor([1, 2]), 0, &Nx.add/2) end
        with_config(:nx_fallback, :warn)
        assert capture_log(reduce) =~ "Nx.reduce"
        with_config(:nx_fallback, :raise)
        assert_raise ArgumentError, ~r/Nx.reduce/, reduce
      end

      test "is nothing else" do
        t = Nx.iota({2, 4, 4}, type: :f32)
        Nx.sum(t)
        Nx.window_max(t, {1, 2, 2})
        Nx.LinAlg.svd(t)
        Nx.dot(Nx.iota({3, 3}), Nx.iota({3, 3}))
        Nx.conv(Nx.iota({1, 1, 2, 2, 2, 2}), Nx.iota({1, 1, 1, 1, 1, 1}))
        Nx.LinAlg.triangular_solve(Nx.tensor([[Complex.new(1, 1)]]), Nx.tensor([Complex.new(2, 0)]))
        refute_received {[:mlx, :fallback], _, _}
      end
    end

    # Only a call of MLX itself needs the GPU, so that the choice of the device can be tested without one.
    describe "what a GPU lacks a type or a kernel for" do
      alias Mlx.Nx.Backend.Manner

      setup do: TelemetryEvents.receive_all()

      defp device_of(operation, tensors) do
        Manner.run({false, :gpu, 0}, operation, tensors, fn -> Mlx.Stream.current().device end)
      end

      test "is computed by the CPU, and announced" do
        f64 = Nx.tensor([1.0, 2.0], type: :f64)
        s64 = Nx.tensor([1, 2], type: :s64)
        c64 = Nx.tensor([Complex.new(1, 2)])

        for {operation, tensors} <- [
              add: [Nx.tensor([1.0]), f64],
              concatenate: [[s64, f64], 0],
              as_type: [f64],
              indexed_add: [s64, Nx.tensor([[0]]), s64, []],
              window_scatter_max: [Nx.as_type(s64, :u64), s64],
              acosh: [c64]
            ] do
          assert device_of(operation, tensors) == :cpu
          function = "Nx.#{operation}"
          assert_receive {[:mlx, :fallback], %{bytes: bytes}, %{function: ^function, device: :cpu}}
          assert bytes > 0
        end
      end

      test "is forbidden where the application wants that" do
        with_config(:nx_fallback, :raise)
        message = ~r/the GPU cannot compute this call of Nx.add with f64, and .* forbids that the CPU computes it/
        assert_raise ArgumentError, message, fn -> device_of(:add, [Nx.tensor(1.0, type: :f64)]) end
      end

      test "is nothing else, and nothing where the CPU is asked for" do
        s64 = Nx.tensor([1, 2], type: :s64)
        assert Mlx.Nx.Backend.DeviceGaps.type(:add, [s64, 3, [axes: [0]]]) == nil
        assert Mlx.Nx.Backend.DeviceGaps.type(:indexed_add, [Nx.tensor([1], type: :s32), []]) == nil
        assert Mlx.Nx.Backend.DeviceGaps.type(:cosh, [Nx.tensor([Complex.new(1, 2)])]) == nil
        f64 = Nx.tensor([1.0], type: :f64, backend: {Mlx.Backend, device: :cpu})
        assert Nx.add(f64, f64) |> Nx.to_list() == [2.0]
        refute_received {[:mlx, :fallback], _, _}
      end
    end

    describe "memory" do
      test "is shared by arrays and tensors" do
        array = Mlx.eval(Mlx.arange(1000))
        address = Mlx.Unsafe.to_pointer(array)
        assert array |> Mlx.Nx.to_nx() |> Mlx.Nx.from_nx() |> Mlx.Unsafe.to_pointer() == address
        truth = Mlx.eval(Mlx.greater(array, 500))
        tensor = Mlx.Nx.to_nx(truth)
        assert tensor.type == {:u, 8}
        assert tensor |> Mlx.Nx.from_nx() |> Mlx.Unsafe.to_pointer() == Mlx.Unsafe.to_pointer(truth)
      end

      test "is given back once" do
        t = Nx.tensor([1, 2, 3])
        copy = Nx.backend_copy(t, Backend)
        assert Nx.backend_deallocate(t) == :ok
        assert Nx.backend_deallocate(t) == :already_deallocated
        assert Nx.to_list(copy) == [1, 2, 3]
      end

      test "is left by a transfer to another backend" do
        t = Nx.tensor([1, 2, 3])
        moved = Nx.backend_transfer(t)
        assert %Nx.BinaryBackend{} = moved.data
        assert Nx.backend_deallocate(t) == :already_deallocated
        assert moved |> Nx.backend_transfer(Backend) |> Nx.to_list() == [1, 2, 3]
      end

      test "has addresses for those who ask for them" do
        t = Nx.tensor([1, 2, 3])
        assert_raise ArgumentError, ~r/unsafe: true/, fn -> Nx.to_pointer(t) end
        pointer = Nx.to_pointer(t, unsafe: true)
        assert %Nx.Pointer{kind: :local, data_size: 12} = pointer
        assert_raise ArgumentError, ~r/unsafe: true/, fn -> Nx.from_pointer(Backend, pointer, :s32, {3}) end
        same = Nx.from_pointer(Backend, pointer, :s32, {3}, unsafe: true, owner: t, names: [:x])
        assert same.names == [:x]
        assert Nx.to_list(same) == [1, 2, 3]

        assert_raise ArgumentError, ~r/16 bytes/, fn ->
          Nx.from_pointer({Backend, unsafe: true}, pointer, :s32, {4})
        end
      end
    end

    test "inspect names the backend, or not" do
      t = Nx.tensor([1, 2])
      assert inspect(t) == "#Nx.Tensor<\n  s32[2]\n  Mlx.Backend\n  [1, 2]\n>"
      with_config(:add_backend_on_inspect, false)
      assert inspect(t) == "#Nx.Tensor<\n  s32[2]\n  [1, 2]\n>"
    end

    test "inspect shows what cannot be read" do
      t = Nx.tensor([1, 2])
      Nx.backend_deallocate(t)
      assert inspect(t) == "#Nx.Tensor<\n  s32[2]\n  Mlx.Backend\n  deallocated\n>"
      singular = Nx.LinAlg.solve(Nx.broadcast(1.0, {2, 2}), Nx.tensor([1.0, 2.0], backend: {Backend, lazy: true}))
      assert inspect(singular) =~ "singular"

      code =
        quote do
          {:ok, _} = Application.ensure_all_started([:nx, :mlx])
          [1, 2] |> Nx.tensor(backend: Mlx.Backend) |> :erlang.term_to_binary() |> Base.encode64() |> IO.write()
        end

      {:exit, 0, text} = Mlx.ChildVM.run(code)
      foreign = text |> Base.decode64!() |> :erlang.binary_to_term()
      for limit <- [1, 50], do: assert(inspect(foreign, limit: limit) =~ "in another virtual machine")
      message = ~r/in another virtual machine.*Nx.serialize/
      assert_raise ArgumentError, message, fn -> Nx.to_list(foreign) end
      assert_raise ArgumentError, message, fn -> Nx.serialize(foreign) end
      assert_raise ArgumentError, message, fn -> Nx.backend_transfer(foreign) end
    end

    test "a matrix that is not positive definite has no factor" do
      matrices = Nx.tensor([[[1.0, 2.0], [2.0, 1.0]], [[4.0, 0.0], [0.0, 9.0]], [[1.0, 1.0], [1.0, 1.0]]])

      assert [[[:nan, :nan], _], [[2.0, +0.0], [+0.0, 3.0]], [[1.0, +0.0], [1.0, +0.0]]] =
               Nx.to_list(Nx.LinAlg.cholesky(matrices))
    end

    describe "the same values as Nx.BinaryBackend:" do
      # The function is called with tensors of both backends, the shapes and types given.
      defp same(inputs, fun) do
        key = Nx.with_default_backend(Nx.BinaryBackend, fn -> Nx.Random.key(17) end)

        tensors =
          for {{shape, type}, index} <- Enum.with_index(inputs) do
            random =
              Nx.with_default_backend(Nx.BinaryBackend, fn -> random(Nx.Random.fold_in(key, index), shape, type) end)

            {random, Nx.backend_copy(random, Backend)}
          end

        expected = Nx.with_default_backend(Nx.BinaryBackend, fn -> apply(fun, Enum.map(tensors, &elem(&1, 0))) end)
        result = apply(fun, Enum.map(tensors, &elem(&1, 1)))
        assert %Backend{} = result.data
        assert {result.shape, result.type, result.names} == {expected.shape, expected.type, expected.names}
        assert Mlx.Nx.from_nx(result).shape == expected.shape
        assert close?(Nx.backend_copy(result, Nx.BinaryBackend), expected), "#{inspect(result)}\n#{inspect(expected)}"
      end

      defp random(key, shape, {:float, type}) do
        {numbers, _key} = Nx.Random.normal(key, 0, 1, shape: shape, type: type)
        numbers
      end

      defp random(key, shape, {:integer, type, low, high}) do
        {numbers, _key} = Nx.Random.randint(key, low, high, shape: shape, type: type)
        numbers
      end

      defp close?(a, b) do
        Nx.with_default_backend(Nx.BinaryBackend, fn ->
          a |> Nx.all_close(b, atol: 1.0e-4, rtol: 1.0e-4, equal_nan: true) |> Nx.to_number() == 1
        end)
      end

      @f32 {:float, :f32}

      test "convolutions" do
        for {input, kernel, options} <- [
              {{2, 4, 9}, {6, 4, 3}, []},
              {{2, 4, 9}, {6, 2, 3}, [feature_group_size: 2, padding: :same]},
              {{4, 3, 9}, {6, 3, 2}, [batch_group_size: 2, strides: 2]},
              {{2, 3, 7, 8}, {4, 3, 2, 3}, [strides: [2, 1], padding: [{1, 2}, {0, 1}]]},
              {{2, 3, 7, 8}, {4, 3, 2, 3}, [input_dilation: [2, 1], kernel_dilation: [1, 2]]},
              {{2, 3, 7, 8}, {4, 3, 2, 3}, [padding: [{-1, 2}, {1, -2}], input_dilation: [1, 2]]},
              {{2, 7, 8, 3}, {2, 3, 3, 4},
               [input_permutation: [0, 3, 1, 2], kernel_permutation: [3, 2, 0, 1], output_permutation: [0, 3, 1, 2]]},
              {{2, 7, 8, 4}, {2, 3, 2, 4},
               [
                 input_permutation: [0, 3, 1, 2],
                 kernel_permutation: [3, 2, 0, 1],
                 output_permutation: [2, 0, 3, 1],
                 feature_group_size: 2
               ]},
              {{1, 2, 4, 5, 4}, {3, 2, 2, 2, 3}, [strides: [1, 2, 1]]},
              {{1, 4, 4, 3, 4}, {2, 2, 2, 2, 3}, [feature_group_size: 2]},
              {{1, 2, 3, 3, 2, 3}, {3, 2, 2, 2, 1, 2}, [padding: :same]}
            ] do
          same([{input, @f32}, {kernel, @f32}], &Nx.conv(&1, &2, options))
        end

        # More positions in the kernel than in the result.
        for {input, kernel, options} <- [
              {{2, 4, 9}, {6, 4, 7}, []},
              {{2, 4, 5}, {6, 4, 4}, [strides: 3, padding: [{2, 3}]]},
              {{2, 3, 7, 8}, {4, 3, 5, 6}, [strides: [2, 1], padding: [{1, 2}, {0, 1}]]},
              {{2, 3, 9, 8}, {4, 3, 4, 3}, [kernel_dilation: [2, 3], padding: [{0, 1}, {0, 0}], strides: [2, 1]]},
              {{2, 3, 5, 6}, {4, 3, 6, 7}, [input_dilation: [2, 1], padding: [{-1, 1}, {2, 1}]]},
              {{3, 7, 8, 2}, {3, 5, 7, 4},
               [
                 input_permutation: [3, 0, 1, 2],
                 kernel_permutation: [3, 0, 1, 2],
                 output_permutation: [2, 3, 0, 1],
                 padding: :same
               ]}
            ] do
          same([{input, @f32}, {kernel, @f32}], &Nx.conv(&1, &2, options))
        end

        options = [feature_group_size: 2, padding: [{1, 0}], kernel_dilation: [2], input_dilation: [2]]
        same([{{2, 4, 9}, {:float, :f64}}, {{6, 2, 3}, {:float, :f64}}], &Nx.conv(&1, &2, options))
        same([{{2, 4, 9}, {:float, :c64}}, {{6, 2, 3}, @f32}], &Nx.conv(&1, &2, options))
      end

      test "windows" do
        for name <- [:window_sum, :window_max, :window_min, :window_product, :window_mean],
            {shape, window, options} <- [
              {{7}, {3}, []},
              {{5, 6}, {2, 3}, [strides: [1, 2], padding: :same]},
              {{5, 6}, {2, 2}, [window_dilations: [2, 3], padding: [{1, 0}, {2, 3}]]},
              {{3, 4, 5}, {1, 2, 2}, [strides: [2, 1, 3]]},
              {{9, 8}, {5, 4}, [strides: [2, 1], padding: :same]}
            ] do
          same([{shape, @f32}], &apply(Nx, name, [&1, window, options]))
        end

        same([{{5, 6}, {:integer, :s16, -9, 9}}], &Nx.window_max(&1, {2, 2}, padding: :same))
        same([{{5, 6}, {:integer, :u8, 0, 9}}], &Nx.window_sum(&1, {2, 2}, padding: :same))
      end

      test "scattered windows" do
        for name <- [:window_scatter_max, :window_scatter_min], type <- [@f32, {:integer, :s32, 0, 3}] do
          scatter = &apply(Nx, name, [&1, &2, 0, {2, 3}, [strides: [2, 3], padding: :valid]])
          same([{{4, 6}, type}, {{2, 2}, type}], scatter)

          padded =
            &apply(Nx, name, [
              &1,
              &2,
              2,
              {1, 2, 3, 1},
              [strides: [1, 2, 3, 1], padding: [{0, 0}, {1, 0}, {1, 1}, {0, 0}]]
            ])

          same([{{2, 5, 7, 2}, type}, {{2, 3, 3, 2}, type}], padded)
          large = &apply(Nx, name, [&1, &2, 0, {5, 4}, [strides: [5, 4], padding: :valid]])
          same([{{5, 8}, type}, {{1, 2}, type}], large)
          rest = &apply(Nx, name, [&1, &2, 0, {2, 2}, [strides: [2, 2], padding: :valid]])
          same([{{5, 5}, type}, {{2, 2}, type}], rest)
          overlapping = &apply(Nx, name, [&1, &2, 1, {2, 2}, [strides: [1, 1], padding: [{1, 0}, {0, 1}]]])
          same([{{4, 6}, type}, {{4, 6}, type}], overlapping)
        end
      end

      test "scattered windows with the last NaN of each as its extreme" do
        for {windows, expected} <- [
              {[[1.0, :nan, :nan, 0.0], [3.0, 3.0, 2.0, 1.0]], [[0.0, 0.0, 5.0, 0.0], [0.0, 7.0, 0.0, 0.0]]},
              {[[:nan, 9.0, 1.0, 0.0], [1.0, 2.0, 0.0, 4.0]], [[5.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 7.0]]}
            ],
            strides <- [[1, 4], [1, 5]] do
          tensor = Nx.tensor(windows, backend: Mlx.Backend)
          source = Nx.tensor([[5.0], [7.0]], backend: Mlx.Backend)
          scattered = Nx.window_scatter_max(tensor, source, 0, {1, 4}, strides: strides, padding: :valid)
          assert Nx.to_list(scattered) == expected
        end
      end

      test "pads" do
        for config <- [[{1, 2, 0}, {0, 0, 1}], [{-1, 0, 0}, {2, -1, 2}], [{-1, -1, 1}, {0, -3, 2}]] do
          same([{{3, 4}, @f32}], &Nx.pad(&1, 7, config))
        end
      end

      test "products of axes" do
        for {a, b, arguments} <- [
              {{3, 4}, {4, 5}, [[1], [], [0], []]},
              {{2, 3, 4}, {2, 4, 5}, [[2], [0], [1], [0]]},
              {{2, 3, 4}, {2, 4, 3}, [[1, 2], [0], [2, 1], [0]]},
              {{5, 3}, {4, 5}, [[0], [], [1], []]},
              {{4}, {4}, [[0], [], [0], []]},
              {{2, 2, 3, 4}, {2, 2, 5, 4}, [[3], [0, 1], [3], [0, 1]]}
            ],
            type <- [@f32, {:integer, :s32, -99, 99}, {:integer, :u8, 0, 250}, {:float, :c64}] do
          [ac, ab, bc, bb] = arguments
          same([{a, type}, {b, type}], &Nx.dot(&1, ac, ab, &2, bc, bb))
        end
      end

      test "products of more integers than one block holds" do
        a = Nx.remainder(Nx.iota({300, 200}, type: :s64), 199)
        b = Nx.remainder(Nx.iota({200, 100}, type: :s64), 97)
        exact = Nx.dot(Nx.as_type(a, :f64), Nx.as_type(b, :f64))
        assert Nx.to_number(Nx.all(Nx.equal(Nx.dot(a, b), exact))) == 1
      end

      test "orders, also of NaN and of equal numbers" do
        numbers = [3.0, :nan, -1.0, :infinity, 3.0, :neg_infinity, :nan, 0.0, -1.0]

        for backend_fun <- [
              &Nx.argsort(&1, direction: :asc, stable: true),
              &Nx.argsort(&1, direction: :desc, stable: true),
              &Nx.sort(&1, direction: :desc),
              &Nx.argmax(&1, tie_break: :low),
              &Nx.argmax(&1, tie_break: :high),
              &Nx.argmin(&1, tie_break: :high),
              &Nx.reduce_max/1,
              &elem(Nx.top_k(&1, k: 4), 1)
            ],
            numbers <- [numbers, Enum.reject(numbers, &(&1 == :nan))] do
          [ours, theirs] =
            for backend <- [Backend, Nx.BinaryBackend] do
              Nx.with_default_backend(backend, fn -> numbers |> Nx.tensor() |> backend_fun.() |> Nx.to_flat_list() end)
            end

          # NaN has no order among its like.
          assert positions(ours, numbers) == positions(theirs, numbers)
        end
      end

      defp positions(results, numbers) do
        for result <- results, do: if(is_integer(result) and Enum.at(numbers, result) == :nan, do: :nan, else: result)
      end

      test "quotients and remainders" do
        for type <- [{:integer, :s32, -20, 20}, {:integer, :s8, -20, 20}, @f32] do
          divisor = fn b -> Nx.select(Nx.equal(b, 0), 3, b) |> Nx.as_type(b.type) end
          same([{{200}, type}, {{200}, type}], &Nx.remainder(&1, divisor.(&2)))
          if type != @f32, do: same([{{200}, type}, {{200}, type}], &Nx.quotient(&1, divisor.(&2)))
        end
      end

      test "mixed types" do
        types = [{:integer, :u8, 0, 9}, {:integer, :s64, -9, 9}, {:integer, :u64, 0, 9}, @f32, {:float, :f64}]

        for a <- types, b <- types, name <- [:add, :multiply, :max, :less, :logical_and] do
          same([{{20}, a}, {{20}, b}], &apply(Nx, name, [&1, &2]))
        end
      end

      # The function is called with tensors of these numbers and types, in both backends, and compiled.
      defp agree(inputs, fun) do
        expected = Nx.with_default_backend(Nx.BinaryBackend, fn -> apply(fun, tensors(inputs, Nx.BinaryBackend)) end)
        tensors = tensors(inputs, Backend)
        compiled = Nx.Defn.jit(fn tuple -> apply(fun, Tuple.to_list(tuple)) end, compiler: Mlx)

        for result <- [apply(fun, tensors), compiled.(List.to_tuple(tensors))] do
          assert result.type == expected.type

          pairs = Enum.zip(Nx.to_flat_list(result), Nx.to_flat_list(expected))
          unlike = for {a, b} <- pairs, not alike?(a, b), do: {a, b}
          assert unlike == [], "of #{inspect(inputs)} by #{inspect(fun)}: #{inspect(unlike)}"
        end
      end

      defp alike?(a, b), do: a == b or (is_float(a) and is_float(b) and abs(a - b) <= 1.0e-6 * abs(b))

      defp tensors(inputs, backend) do
        for {numbers, type} <- inputs, do: Nx.tensor(numbers, type: type, backend: backend)
      end

      defp extremes(type) do
        {least, greatest} = {Mlx.Type.min(type), Mlx.Type.max(type)}
        negative = if least < 0, do: [-1, -2, -10, div(least, 2)], else: []
        [least, least + 1, div(greatest, 2), div(greatest, 2) + 1, greatest - 1, greatest, 0, 1, 2, 3, 10] ++ negative
      end

      @integers [:u8, :s8, :u32, :s32, :u64, :s64]
      @any_integers ~w(add subtract multiply atan2 min max equal not_equal less greater less_equal greater_equal
                       logical_and logical_xor bitwise_or)a

      # Those that are asked of each operation, as Nx.BinaryBackend has no other values.
      defp defined?(name, divisor) when name in [:divide, :quotient, :remainder], do: divisor != 0
      defp defined?(name, count) when name in [:pow, :left_shift, :right_shift], do: count in 0..60
      defp defined?(_name, _number), do: true

      @names @any_integers ++ [:divide, :quotient, :remainder, :pow, :left_shift, :right_shift]

      test "integers at the ends of their types" do
        for a <- @integers, b <- @integers, name <- @names do
          pairs = for x <- extremes(a), y <- extremes(b), defined?(name, y), do: {x, y}
          {left, right} = Enum.unzip(pairs)
          agree([{left, a}, {right, b}], &apply(Nx, name, [&1, &2]))
        end
      end

      test "integers at the ends of their types beside numbers" do
        for type <- @integers, number <- [3, -1, -10, 2 ** 40 + 3, 2 ** 63 + 7, 2 ** 64 - 1], name <- @names do
          if defined?(name, number), do: agree([{extremes(type), type}], &apply(Nx, name, [&1, number]))
          if name in @any_integers, do: agree([{extremes(type), type}], &apply(Nx, name, [number, &1]))
        end
      end

      test "integers at the ends of their types in limits, reductions and windows" do
        for type <- @integers do
          numbers = {extremes(type), type}

          for low <- [-5, 0, 3], high <- [10, 2 ** 31 - 1, 2 ** 63 + 7] do
            agree([numbers], &Nx.clip(&1, low, high))
          end

          for other <- @integers do
            agree([numbers, {3, other}, {100, other}], &Nx.clip/3)
            agree([numbers, {Enum.take(Stream.cycle(extremes(other)), length(extremes(type))), other}], &Nx.dot/2)
          end

          for name <- ~w(sum product mean reduce_max reduce_min argmax argmin sort argsort median cumulative_sum
                         cumulative_max cumulative_min)a do
            agree([numbers], &apply(Nx, name, [&1]))
          end

          for name <- ~w(window_sum window_product window_max window_min window_mean)a, size <- [2, 9] do
            agree([numbers], &apply(Nx, name, [&1, {size}, [padding: :same]]))
          end
        end
      end

      test "NaN and infinity in orders, extremes and running results" do
        for type <- [:bf16, :f16, :f32, :f64],
            numbers <- [
              [1.0, :nan, -2.0, :infinity, 0.5, :neg_infinity, :nan, 3.0, 1.0],
              [1.0, -2.0, :infinity, 0.5, :neg_infinity, 3.0, -3.0],
              [:nan, :nan],
              [:neg_infinity, :nan]
            ] do
          for name <- ~w(reduce_max reduce_min sum median)a, do: agree([{numbers, type}], &apply(Nx, name, [&1]))

          for name <- [:cumulative_max, :cumulative_min, :cumulative_sum], reverse <- [false, true] do
            agree([{numbers, type}], &apply(Nx, name, [&1, [reverse: reverse]]))
          end

          for name <- [:argmax, :argmin], tie_break <- [:low, :high] do
            agree([{numbers, type}], &apply(Nx, name, [&1, [tie_break: tie_break]]))
          end

          for name <- [:sort, :argsort], direction <- [:asc, :desc] do
            agree([{numbers, type}], &apply(Nx, name, [&1, [direction: direction, stable: true]]))
          end

          for name <- [:window_max, :window_min], size <- [2, 20] do
            agree([{numbers, type}], &apply(Nx, name, [&1, {size}, [padding: :same]]))
          end
        end
      end

      test "bits" do
        for type <- [:u8, :s8, :u16, :s16, :u32, :s32, :u64, :s64], name <- [:count_leading_zeros, :population_count] do
          {low, high} = if type in [:u8, :u16, :u32, :u64], do: {0, 100}, else: {-100, 100}
          same([{{50}, {:integer, type, low, high}}], &apply(Nx, name, [&1]))
        end

        for name <- [:left_shift, :right_shift], type <- [:s32, :u8] do
          same([{{50}, {:integer, type, 1, 100}}, {{50}, {:integer, type, 0, 70}}], &apply(Nx, name, [&1, &2]))
        end
      end

      test "triangular systems" do
        for left_side <- [true, false],
            lower <- [true, false],
            transform <- [:none, :transpose],
            type <- [:f32, :f64, :c64] do
          options = [left_side: left_side, lower: lower, transform_a: transform]

          solve = fn a, b ->
            a = a |> Nx.add(Nx.multiply(4, Nx.eye(3))) |> then(&if(lower, do: Nx.tril(&1), else: Nx.triu(&1)))
            Nx.LinAlg.triangular_solve(a, b, options)
          end

          same([{{2, 3, 3}, {:float, type}}, {{2, 3, 3}, {:float, type}}], solve)
          same([{{3, 3}, {:float, type}}, {{3}, {:float, type}}], solve)
        end
      end

      # In the domain of all of them, and complex numbers where Nx has the function.
      @functions ~w(exp expm1 log log1p sigmoid cos sin tan cosh sinh tanh acos asin atan asinh atanh sqrt rsqrt cbrt)a

      test "functions of one number" do
        inside = &Nx.divide(Nx.add(Nx.abs(&1), 0.1), 9)
        for name <- @functions ++ [:erf, :erfc, :erf_inv], do: same([{{9}, @f32}], &apply(Nx, name, [inside.(&1)]))
        # Nx.BinaryBackend has another branch of the inverse cosine than the principal one.
        for name <- @functions -- [:acos], do: same([{{9}, {:float, :c64}}], &apply(Nx, name, [&1]))
        same([{{9}, @f32}], &Nx.acosh(Nx.add(Nx.abs(&1), 1)))

        for name <- ~w(abs ceil floor negate round sign is_nan is_infinity)a, type <- [@f32, {:integer, :s8, -9, 9}] do
          same([{{9}, type}], &apply(Nx, name, [&1]))
        end

        same([{{50}, {:integer, :s8, -9, 9}}], &Nx.round(Nx.divide(&1, 2)))
        for name <- [:real, :imag, :conjugate, :phase, :abs], do: same([{{9}, {:float, :c64}}], &apply(Nx, name, [&1]))
        same([{{9}, @f32}], &Nx.conjugate/1)
        same([{{9}, {:integer, :s8, -9, 9}}], &Nx.bitwise_not/1)
        same([{{9}, @f32}], &Nx.bitcast(&1, :s32))
        same([{{9}, @f32}], &Nx.clip(&1, -1, 0.5))
      end

      test "numbers into types that cannot hold them" do
        for number <- [:nan, :infinity, :neg_infinity, 3.9, -3.9], type <- [:s8, :u16, :s32, :s64] do
          if not (number == -3.9 and type == :u16), do: same([], fn -> Nx.as_type(Nx.tensor(number), type) end)
        end

        same([{{3}, {:float, :c64}}], &Nx.as_type(Nx.multiply(&1, 10), :s32))

        for number <- [-1, 300, 2 ** 40],
            type <- [:u8, :s8, :s64],
            do: same([], fn -> Nx.tensor(number, type: type) end)
      end

      test "tensors made of numbers" do
        same([], fn -> Nx.eye({2, 3, 2}, type: :bf16) end)
        same([], fn -> Nx.iota({2, 3}, axis: 0) end)
        same([], fn -> Nx.iota({3, 200}, type: :u8) end)
        same([], fn -> Nx.iota({3, 2}, type: :c64, names: [:x, :y]) end)
        same([], fn -> Nx.broadcast(Nx.tensor(Complex.new(1, -2)), {2, 2}) end)
        same([], fn -> Nx.tensor(Complex.new(1, :infinity)) end)
      end

      test "truth" do
        sparse = &Nx.multiply(&1, Nx.remainder(Nx.iota({4, 3}), 2))

        for type <- [@f32, {:integer, :s8, -1, 2}] do
          for name <- [:any, :all] do
            same([{{4, 3}, type}], &apply(Nx, name, [sparse.(&1), [axes: [1], keep_axes: true]]))
          end

          same([{{4, 3}, type}, {{3}, type}], &Nx.select(sparse.(&1), 1, &2))
        end

        for type <- [@f32, {:float, :c64}] do
          same([{{4, 3}, type}], &Nx.logical_not(sparse.(&1)))
          same([{{4, 3}, type}, {{4, 3}, type}], &Nx.logical_xor(sparse.(&1), &2))
        end

        # Nx.BinaryBackend takes a complex 0 for true.
        complex = Nx.tensor([[Complex.new(0, 0), Complex.new(0, 1)], [Complex.new(0, 0), Complex.new(0, 0)]])
        assert complex |> Nx.any(axes: [1]) |> Nx.to_list() == [1, 0]
        assert Nx.to_number(Nx.all(Nx.tensor(:infinity))) == 1
      end

      test "Fourier transforms" do
        for name <- [:fft, :ifft], options <- [[], [length: 4], [axis: 0, length: 7]] do
          same([{{3, 5}, {:float, :c64}}], &apply(Nx, name, [&1, options]))
        end

        for name <- [:fft2, :ifft2], do: same([{{3, 5}, @f32}], &apply(Nx, name, [&1, [lengths: [4, 4]]]))
        # Nx.BinaryBackend exchanges axes where the transformed one is not one of the last two.
        wave = Nx.multiply(Nx.tensor([[[1.0]], [[2.0]], [[3.0]]]), Nx.iota({1, 2, 2}))
        assert_close(Nx.fft(wave, axis: 0)[[0]], Nx.multiply(6, Nx.iota({2, 2})))
        same([{{3, 6}, @f32}], &Nx.rfft/1)
        same([{{3, 4}, {:float, :c64}}], &Nx.irfft(&1, length: 6))
        same([{{8}, @f32}], &Nx.fft(&1, eps: 1.0))
      end

      test "running results" do
        for name <- [:cumulative_sum, :cumulative_product, :cumulative_max, :cumulative_min],
            type <- [@f32, {:integer, :u8, 0, 3}, {:float, :bf16}],
            reverse <- [false, true] do
          if type != {:float, :bf16} or name in [:cumulative_max, :cumulative_min] do
            same([{{4, 3}, type}], &apply(Nx, name, [&1, [axis: 1, reverse: reverse]]))
          end
        end
      end

      test "blocks of batches" do
        for batch <- [2, 3], leftover <- [:repeat, :discard] do
          same(
            [{{5, 2}, @f32}],
            &(&1 |> Nx.to_batched(batch, leftover: leftover) |> Enum.to_list() |> Nx.concatenate())
          )
        end

        same([{{5, 4}, @f32}], &Nx.slice(&1, [Nx.tensor(1), 0], [4, 3], strides: [2, 1]))
        same([{{5, 4}, @f32}, {{2, 2}, @f32}], &Nx.put_slice(&1, [4, -1], &2))
        same([{{5, 4}, @f32}], &(Nx.top_k(&1, k: 2) |> elem(0)))
        assert Nx.to_binary(Nx.iota({4, 4}, type: :u8), limit: 3) == <<0, 1, 2>>
        assert Nx.to_binary(Nx.vectorize(Nx.iota({3}, type: :u8), :x), limit: 2) == <<0, 1>>
      end

      test "factorisations, put together again" do
        matrix = Nx.tensor([[4.0, 1.0, 2.0], [1.0, 5.0, -3.0], [2.0, -3.0, 6.0]])
        tall = Nx.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 7.0], [0.5, 0.0]])
        {q, r} = Nx.LinAlg.qr(tall, mode: :complete)
        assert {q.shape, r.shape} == {{4, 4}, {4, 2}}
        assert_close(Nx.dot(q, r), tall)
        assert_close(Nx.dot(Nx.transpose(q), q), Nx.eye(4))
        {u, s, vt} = Nx.LinAlg.svd(tall)
        assert_close(u[[.., 0..1]] |> Nx.multiply(s) |> Nx.dot(vt), tall)
        {u, s, vt} = Nx.LinAlg.svd(tall, full_matrices?: false)
        assert_close(u |> Nx.multiply(s) |> Nx.dot(vt), tall)
        {p, l, u} = Nx.LinAlg.lu(Nx.reverse(matrix))
        assert_close(p |> Nx.dot(l) |> Nx.dot(u), Nx.reverse(matrix))
        {values, vectors} = Nx.LinAlg.eigh(matrix)
        assert_close(Nx.dot(matrix, vectors), Nx.multiply(values, vectors))
        assert Enum.sort_by(Nx.to_list(values), &abs/1, :desc) == Nx.to_list(values)
        factor = Nx.LinAlg.cholesky(matrix)
        assert_close(Nx.dot(factor, Nx.transpose(factor)), matrix)
        odd = Nx.tensor([[0.0, 2, 0, 0], [1, 0, 0, 0], [0, 0, 3, 1], [0, 0, 1, 2]])
        assert_close(Nx.LinAlg.determinant(odd), Nx.tensor(-10.0))
        assert_close(Nx.LinAlg.determinant(Nx.take(odd, Nx.tensor([1, 0, 2, 3]))), Nx.tensor(10.0))
        deficient = Nx.outer(Nx.tensor([1.0, 2.0, 3.0]), Nx.tensor([0.3, 0.7]))
        assert_close(deficient |> Nx.dot(Nx.LinAlg.pinv(deficient)) |> Nx.dot(deficient), deficient)
      end

      defp assert_close(a, b),
        do: assert(Nx.to_number(Nx.all_close(a, b, atol: 1.0e-4)) == 1, "#{inspect(a)}\n#{inspect(b)}")

      test "indices on several axes" do
        indices = fn -> Nx.tensor([[1, 0], [0, 2], [1, 0]]) end
        same([{{3, 2, 4}, @f32}], &Nx.gather(&1, indices.(), axes: [1, 2]))
        same([{{3, 2, 4}, @f32}], &Nx.gather(&1, Nx.tensor([[[2, 0], [1, 1]]]), axes: [0, 1]))
        same([{{2, 3, 4}, @f32}, {{3, 4}, @f32}], &Nx.indexed_add(&1, indices.(), &2))
        same([{{4, 2, 3}, @f32}, {{3, 4}, @f32}], &Nx.indexed_add(&1, indices.(), &2, axes: [1, 2]))
        same([{{4, 2, 3}, @f32}, {{3, 4}, @f32}], &Nx.indexed_put(&1, indices.(), &2, axes: [1, 2]))
      end
    end
  end
end
