if Code.ensure_loaded?(Nx) do
  # Mix leaves out of the code path what is not a dependency.
  for folder <- String.split(System.get_env("ERL_LIBS", ""), ":", trim: true), library <- ["polaris", "axon"] do
    Code.append_path(Path.join([folder, library, "ebin"]))
  end

  defmodule Mlx.Nx.QuantizationTest do
    use ExUnit.Case, async: true

    import Nx.Defn

    @modes [[bits: 4], [bits: 8, group_size: 32], [bits: 3], [mode: :mxfp4], [mode: :mxfp8], [mode: :nvfp4]]

    # The axes that are summed over on the left and on the right, those of the batch, and the packed axis of the right.
    @products [
      {{3, 64}, [1], [], {64, 96}, [0], [], 0},
      {{3, 64}, [1], [], {64, 128}, [0], [], 1},
      {{3, 128}, [1], [], {64, 128}, [1], [], 1},
      {{3, 64}, [1], [], {64, 96}, [0], [], 0},
      {{64}, [0], [], {64, 5}, [0], [], 0},
      {{2, 3, 64}, [2], [], {64, 4, 8}, [0], [], 0},
      {{2, 3, 4, 64}, [2, 3], [], {4, 64, 5}, [0, 1], [], 1},
      {{2, 3, 64, 4}, [2, 3], [], {64, 4, 5}, [0, 1], [], 0},
      {{3, 2}, [1], [], {5, 2, 64}, [1], [], 2},
      {{3, 2}, [1], [], {64, 2, 5}, [1], [], 0},
      {{2, 3, 64}, [2], [0], {2, 64, 5}, [1], [0], 1},
      {{2, 3, 5}, [2], [0], {2, 5, 64}, [1], [0], 2},
      {{2, 3, 5}, [2], [0], {2, 4, 5, 64}, [2], [0], 3},
      {{64, 3, 5}, [2], [0], {64, 5, 4}, [1], [0], 0}
    ]

    setup do
      Nx.default_backend(Mlx.Backend)
      :ok
    end

    defp numbers(shape, type \\ :f32) do
      shape |> Nx.iota(type: :f32) |> Nx.multiply(1.7) |> Nx.sin() |> Nx.as_type(type)
    end

    # The same numbers, in a tensor that is not quantized, and on Nx's own backend.
    defp plain(tensor), do: Nx.backend_copy(tensor, Nx.BinaryBackend)

    defp assert_close(a, b, tolerance \\ 1.0e-4) do
      assert {a.shape, a.type, a.names} == {b.shape, b.type, b.names}
      [a, b] = Enum.map([a, b], &plain/1)
      assert Nx.to_number(Nx.all_close(a, b, atol: tolerance, rtol: tolerance)) == 1, inspect({a, b})
    end

    # That the function computes the same with a quantized tensor as with its numbers, however it is called.
    defp assert_like_plain(fun, arguments, tolerance \\ 1.0e-4) do
      expected =
        Nx.with_default_backend(Nx.BinaryBackend, fn ->
          Nx.Defn.jit_apply(fun, Enum.map(arguments, &plain/1), compiler: Nx.Defn.Evaluator)
        end)

      assert_close(apply(fun, arguments), expected, tolerance)
      assert_like_plain_in_definitions(fun, arguments, expected, tolerance)
    end

    defp assert_like_plain_in_definitions(fun, arguments, expected, tolerance \\ 1.0e-4) do
      for run <- [
            &Nx.Defn.jit_apply(fun, &1, compiler: Nx.Defn.Evaluator),
            &Nx.Defn.jit_apply(fun, &1, compiler: Mlx),
            &Nx.Defn.jit_apply(fun, &1, compiler: Mlx),
            &Nx.Defn.jit_apply(fun, &1, compiler: Mlx, lazy: true),
            &apply(Nx.Defn.compile(fun, Enum.map(&1, fn tensor -> Nx.to_template(tensor) end), compiler: Mlx), &1)
          ] do
        assert_close(run.(arguments), expected, tolerance)
      end
    end

    # How many bytes of MLX the function has used at most.
    defp peak(fun) do
      Mlx.Memory.reset_peak()
      before = Mlx.Memory.active()
      result = fun.()
      Mlx.eval(Mlx.Nx.from_nx(result))
      Mlx.Memory.peak() - before
    end

    describe "a quantized tensor" do
      test "has the shape, the names and the type of the tensor, and about its numbers" do
        for options <- @modes, axis <- [0, 1, :in, -1], type <- [:f32, :bf16, :f16] do
          tensor = Nx.rename(numbers({64, 128}, type), [:in, :out])
          quantized = Mlx.Nx.quantize(tensor, [axis: axis] ++ options)
          assert {quantized.shape, quantized.type, quantized.names} == {tensor.shape, tensor.type, [:in, :out]}
          assert Mlx.Nx.quantized?(quantized)
          refute Mlx.Nx.quantized?(tensor)
          dequantized = Mlx.Nx.dequantize(quantized)
          refute Mlx.Nx.quantized?(dequantized)
          assert_close(dequantized, tensor, 0.3)
          assert Nx.to_binary(dequantized) == Nx.to_binary(quantized)
        end
      end

      test "has the numbers of Mlx.quantize/2" do
        matrix = numbers({8, 64})
        {weights, scales, biases} = Mlx.quantize(Mlx.Nx.from_nx(matrix), bits: 8)
        expected = Mlx.Nx.to_nx(Mlx.dequantize(weights, scales, biases, bits: 8))
        assert Nx.to_list(Mlx.Nx.quantize(matrix, bits: 8)) == Nx.to_list(expected)
        assert Nx.to_list(Mlx.Nx.quantize(Nx.transpose(matrix), bits: 8, axis: 0)) == Nx.to_list(Nx.transpose(expected))
      end

      test "can be one of a stack, of another backend, or vectorized" do
        stack = numbers({2, 3, 64})
        assert_close(Mlx.Nx.quantize(plain(stack), bits: 8), stack, 0.02)
        vectorized = stack |> Nx.vectorize(:stack) |> Mlx.Nx.quantize(bits: 8)
        assert vectorized.vectorized_axes == [stack: 2]
        assert_close(Nx.devectorize(vectorized, keep_names: false), stack, 0.02)
      end

      test "is made of arrays, and gives them" do
        for options <- @modes do
          quantized = Mlx.Nx.quantize(numbers({128, 4}), [axis: 0] ++ options)
          arrays = Mlx.Nx.to_quantized(quantized)
          again = Mlx.Nx.from_quantized(arrays, [axis: 0, type: :f32] ++ options)
          assert again.shape == {128, 4}
          assert Nx.to_binary(again) == Nx.to_binary(quantized)
        end
      end

      test "says so where it is inspected" do
        assert inspect(Mlx.Nx.quantize(numbers({2, 64}))) =~ "Mlx.Backend, quantized: affine, 4 bits, groups of 64"
      end
    end

    describe "Nx.dot" do
      test "is that of the numbers, whichever axes it sums over" do
        for {shape, axes, batch, quantized_shape, quantized_axes, quantized_batch, packed} <- @products,
            {bits, size} <- [{4, 64}, {8, 32}] do
          x = numbers(shape)
          quantized = Mlx.Nx.quantize(numbers(quantized_shape), axis: packed, bits: bits, group_size: size)

          assert_like_plain(&Nx.dot(&1, axes, batch, &2, quantized_axes, quantized_batch), [x, quantized])
          assert_like_plain(&Nx.dot(&2, quantized_axes, quantized_batch, &1, axes, batch), [x, quantized])
        end
      end

      test "is that of the numbers in all modes" do
        for options <- @modes, axis <- [0, 1] do
          assert_like_plain(&Nx.dot/2, [numbers({3, 64}), Mlx.Nx.quantize(numbers({64, 128}), [axis: axis] ++ options)])
        end
      end

      test "is that of the numbers for all types" do
        for type <- [:u8, :s32, :f16, :bf16, :f32, :f64, :c64], packed <- [:f16, :bf16, :f32] do
          x = Nx.as_type(Nx.multiply(numbers({3, 64}), 5), type)
          assert_like_plain(&Nx.dot/2, [x, Mlx.Nx.quantize(numbers({64, 4}, packed), axis: 0)], 0.1)
        end
      end

      test "is that of the numbers of two quantized tensors" do
        quantized = Mlx.Nx.quantize(numbers({64, 64}))
        assert_like_plain(&Nx.dot/2, [quantized, Mlx.Nx.quantize(numbers({64, 64}), axis: 0)])
        assert_like_plain(&Nx.dot(&1, &1), [quantized])
      end

      test "unpacks no matrix" do
        quantized = Mlx.Nx.quantize(numbers({1024, 1024}), axis: 0)
        x = numbers({1, 1024})
        bytes = Nx.byte_size(quantized)

        for fun <- [&Nx.dot/2, &Nx.dot(&2, [0], &1, [1]), &Nx.transpose(Nx.dot(&1, &2)), &loop/2, &branch/2, &layers/2],
            compiler <- [Mlx, Nx.Defn.Evaluator] do
          compiled = Nx.Defn.jit(fun, compiler: compiler)
          compiled.(x, quantized)
          assert peak(fn -> compiled.(x, quantized) end) < bytes / 2
        end
      end
    end

    defn(layers(x, kernel), do: x |> Nx.dot(kernel) |> Nx.tanh() |> Nx.dot(kernel) |> Nx.sum())

    # The kernel is part of the state.
    defn loop(x, kernel) do
      {x, _kernel, _i} =
        while {x, kernel, i = 0}, Nx.any(x < 1.0e9) and i < 20 do
          {Nx.tanh(Nx.dot(x, kernel)), kernel, i + 1}
        end

      x
    end

    defn few_rounds(x, kernel) do
      {x, _kernel, _i} =
        while {x, kernel, i = 0}, i < 3 do
          {Nx.tanh(Nx.dot(x, kernel)), kernel, i + 1}
        end

      x
    end

    defn swapped(x, kernel) do
      {x, first, second, _i} =
        while {x, first = kernel, second = kernel * 2, i = 0}, Nx.any(x < 1.0e9) and i < 3 do
          {Nx.tanh(Nx.dot(x, first)), second, first, i + 1}
        end

      x + Nx.sum(first) + Nx.sum(second)
    end

    defn branch(x, kernel) do
      if Nx.sum(x) > 0, do: Nx.dot(x, kernel), else: Nx.dot(x, [1], kernel, [1])
    end

    defn chosen(x, kernel) do
      chosen = if Nx.sum(x) > 0, do: kernel, else: kernel * 2
      Nx.dot(x, chosen)
    end

    describe "in a definition, a quantized tensor" do
      test "goes through loops and branches" do
        for fun <- [&loop/2, &few_rounds/2, &swapped/2, &branch/2, &chosen/2, &layers/2] do
          assert_like_plain(fun, [numbers({2, 64}), Mlx.Nx.quantize(numbers({64, 64}), axis: 0)])
        end
      end

      test "stays quantized where it is returned as it is" do
        quantized = Mlx.Nx.quantize(numbers({64, 64}), axis: 0)
        x = numbers({2, 64})

        for compiler <- [Mlx, Nx.Defn.Evaluator] do
          fun = fn x, q -> {q, Nx.dot(x, q), %{again: Nx.Defn.Kernel.stop_grad(q), twice: Nx.multiply(q, 2)}} end
          {same, product, %{again: again, twice: twice}} = Nx.Defn.jit_apply(fun, [x, quantized], compiler: compiler)
          assert Enum.map([same, again, twice], &Mlx.Nx.quantized?/1) == [true, true, false]
          assert Nx.to_binary(same) == Nx.to_binary(quantized)
          assert_close(product, Nx.dot(plain(x), plain(quantized)))
          assert_close(twice, Nx.multiply(plain(quantized), 2))
          assert %Nx.Tensor{} = same = Nx.Defn.jit_apply(&Function.identity/1, [quantized], compiler: compiler)
          assert Mlx.Nx.quantized?(same)
        end
      end

      test "takes the place of another, and of one that is not" do
        compiled = Nx.Defn.jit(&Nx.dot/2, compiler: Mlx)
        x = numbers({2, 64})

        for options <- [[axis: 0], [axis: 1], [axis: 0, bits: 8], [axis: 0, group_size: 32]] do
          quantized = Mlx.Nx.quantize(numbers({64, 64}), options)
          assert_close(compiled.(x, quantized), Nx.dot(plain(x), plain(quantized)))
          assert_close(compiled.(x, Mlx.Nx.dequantize(quantized)), Nx.dot(plain(x), plain(quantized)))
        end
      end

      test "is computed without compilation, with hooks, and by functions of Elixir" do
        quantized = Mlx.Nx.quantize(numbers({64, 64}), axis: 0)
        me = self()
        fun = fn q -> Nx.Defn.Kernel.hook(q, :seen, &send(me, {:seen, &1})) |> Nx.sum() end
        Nx.Defn.jit_apply(fun, [quantized], compiler: Mlx)
        assert_received {:seen, seen}
        assert Nx.to_binary(seen) == Nx.to_binary(quantized)

        call = fn q -> Nx.runtime_call(Nx.template({64, 64}, :f32), q, [], fn q, _ -> Nx.add(q, 1) end) end
        assert_close(Nx.Defn.jit_apply(call, [quantized], compiler: Mlx), Nx.add(plain(quantized), 1))
      end

      test "is given away, but not where it is returned" do
        quantized = Mlx.Nx.quantize(numbers({64, 64}), axis: 0)
        x = numbers({2, 64})
        expected = Nx.dot(plain(x), plain(quantized))
        copy = Nx.backend_copy(quantized, Mlx.Backend)
        assert_close(Nx.Defn.jit_apply(&Nx.dot/2, [x, copy], compiler: Mlx, donate: [1]), expected)
        assert Nx.backend_deallocate(copy) == :already_deallocated
        {product, same} = Nx.Defn.jit_apply(&{Nx.dot(&1, &2), &2}, [x, quantized], compiler: Mlx, donate: [1])
        assert_close(product, expected)
        assert_close(Nx.dot(x, same), expected)
      end
    end

    describe "a gradient" do
      test "goes through a product, and is that of the numbers" do
        x = numbers({3, 64})

        for axis <- [0, 1] do
          quantized = Mlx.Nx.quantize(numbers({64, 64}), axis: axis)
          loss = fn {x, q} -> x |> Nx.dot(q) |> Nx.sin() |> Nx.sum() end
          gradient = fn x, q -> Nx.Defn.grad({x, q}, loss) end
          expected = Nx.Defn.jit_apply(gradient, [plain(x), plain(quantized)], compiler: Nx.Defn.Evaluator)

          for place <- [0, 1] do
            assert_like_plain_in_definitions(&elem(gradient.(&1, &2), place), [x, quantized], elem(expected, place))
          end
        end

        refute Mlx.Nx.quantized?(Nx.Defn.grad(Mlx.Nx.quantize(numbers({2, 64})), &Nx.sum/1))
      end
    end

    # Of a matrix {4, 64}.
    defp other_operations do
      [
        add: &Nx.add(&1, 1),
        take_rows: &Nx.take(&1, Nx.tensor([[2, 0], [1, 1]]), axis: 0),
        take_columns: &Nx.take(&1, Nx.tensor([2, 0]), axis: 1),
        slice: & &1[[1..2, 3..5]],
        transpose: &Nx.transpose/1,
        reshape: &Nx.reshape(&1, {2, 2, 64}),
        concatenate: &Nx.concatenate([&1, &1]),
        sort: &Nx.sort/1,
        sum: &Nx.sum(&1, axes: [0]),
        select: &Nx.select(Nx.greater(&1, 0), &1, 0),
        integers: &Nx.as_type(Nx.multiply(&1, 10), :s32),
        reduce: &Nx.reduce(&1, 0, fn a, b -> Nx.add(a, b) end),
        normalise: &Mlx.Nx.Fast.rms_norm(&1, nil),
        put: &Nx.put_slice(Nx.broadcast(0.0, {4, 64}), [0, 0], &1),
        scatter:
          &Nx.indexed_add(
            &1,
            Nx.tensor([[0, 0]]),
            Nx.tensor([1.0])
          ),
        convolve: &Nx.conv(Nx.reshape(&1, {1, 4, 64}), Nx.reshape(&1, {4, 4, 16})),
        accumulate: &Nx.cumulative_sum(&1, axis: 1),
        vectorize: &(&1 |> Nx.vectorize(:rows) |> Nx.sum() |> Nx.devectorize(keep_names: false)),
        einsum: &Mlx.Nx.einsum("ij,kj->ik", [&1, &1])
      ]
    end

    describe "another operation" do
      test "computes with the numbers" do
        for {_name, fun} <- other_operations(), axis <- [0, 1] do
          shape = if axis == 0, do: {64, 4}, else: {4, 64}
          quantized = Mlx.Nx.quantize(numbers(shape), axis: axis)
          assert_like_plain(&fun.(if(axis == 0, do: Nx.transpose(&1), else: &1)), [quantized])
        end
      end

      test "takes rows of a table without unpacking the others" do
        for {shape, axis, packed} <- [{{5, 64}, 0, 1}, {{64, 5}, 1, 0}, {{3, 5, 64}, 1, 2}, {{3, 64, 5}, 2, 1}],
            indices <- [3, [1, 4], [[0, 1], [2, 3]]] do
          quantized = Mlx.Nx.quantize(numbers(shape), axis: packed)
          assert_like_plain(&Nx.take(&1, &2, axis: axis), [quantized, Nx.tensor(indices)])
        end

        table = Mlx.Nx.quantize(numbers({4096, 256}))
        assert peak(fn -> Nx.take(table, Nx.tensor([5, 7])) end) < Nx.byte_size(table) / 8
      end

      test "as Nx.as_type/2 keeps the form where the numbers are rounded once" do
        quantized = Mlx.Nx.quantize(numbers({64, 4}), axis: 0)
        half = Nx.as_type(quantized, :f16)
        assert Mlx.Nx.quantized?(half)
        assert Nx.to_binary(half) == Nx.to_binary(Nx.as_type(plain(quantized), :f16))
        again = Nx.as_type(half, :f32)
        assert Nx.to_binary(again) == plain(quantized) |> Nx.as_type(:f16) |> Nx.as_type(:f32) |> Nx.to_binary()
        refute Mlx.Nx.quantized?(again)
        assert_like_plain(&Nx.dot/2, [numbers({3, 64}, :f16), half], 0.01)
        assert_like_plain(&Nx.dot/2, [numbers({3, 64}), half])
        refute Mlx.Nx.quantized?(Nx.as_type(quantized, :f64))
        assert_like_plain(&Nx.as_type(&1, :f8), [quantized])
      end
    end

    describe "reading and moving" do
      setup do
        %{quantized: Mlx.Nx.quantize(numbers({8, 64}), bits: 8)}
      end

      test "gives the numbers to other backends, to binaries and to arrays", %{quantized: quantized} do
        numbers = Nx.to_binary(Mlx.Nx.dequantize(quantized))
        assert Nx.to_binary(quantized) == numbers
        assert Nx.to_binary(quantized, limit: 3) == binary_part(numbers, 0, 12)
        assert Nx.to_binary(Nx.deserialize(Nx.serialize(quantized))) == numbers
        assert quantized |> Mlx.Nx.from_nx() |> Mlx.to_binary() == numbers
        copy = Nx.backend_copy(quantized, Nx.BinaryBackend)
        assert %Nx.BinaryBackend{} = copy.data
        assert Nx.to_binary(copy) == numbers
        assert Nx.to_binary(Nx.backend_copy(quantized)) == numbers
        assert [first | _] = quantized |> Nx.to_batched(2) |> Enum.to_list()
        assert Nx.to_binary(first) == binary_part(numbers, 0, 4 * 128)
      end

      test "to this backend keeps the form", %{quantized: quantized} do
        numbers = Nx.to_binary(quantized)
        copy = Nx.backend_copy(quantized, Mlx.Backend)
        assert Mlx.Nx.quantized?(copy)
        moved = Nx.backend_transfer(quantized, {Mlx.Backend, device: :cpu})
        assert Mlx.Nx.quantized?(moved)
        assert moved.data.device == :cpu
        assert Nx.to_binary(moved) == numbers
        lazy = Nx.backend_transfer(quantized, {Mlx.Backend, lazy: true})
        assert Nx.dot(numbers({2, 8}), lazy).data.lazy
        assert Nx.backend_deallocate(copy) == :ok
        assert Nx.backend_deallocate(copy) == :already_deallocated
        assert inspect(copy) =~ "deallocated"
        assert Nx.to_binary(moved) == numbers
      end

      test "to another backend frees the memory", %{quantized: quantized} do
        numbers = Nx.to_binary(quantized)
        assert Nx.to_binary(Nx.backend_transfer(quantized, Nx.BinaryBackend)) == numbers
        assert Nx.backend_deallocate(quantized) == :already_deallocated
      end

      test "has no pointer", %{quantized: quantized} do
        assert_raise ArgumentError, ~r/Mlx.Nx.dequantize\/1 gives a tensor that has/, fn ->
          Nx.to_pointer(quantized, unsafe: true)
        end
      end

      test "is stored by its arrays", %{quantized: quantized} do
        path = Path.join(System.tmp_dir!(), "mlx_quantized_#{System.unique_integer([:positive])}.safetensors")
        on_exit(fn -> File.rm(path) end)
        {weights, scales, biases} = Mlx.Nx.to_quantized(quantized)
        Mlx.IO.save(path, %{"weights" => weights, "scales" => scales, "biases" => biases})
        %{"weights" => weights, "scales" => scales, "biases" => biases} = Mlx.IO.load(path)
        again = Mlx.Nx.from_quantized({weights, scales, biases}, bits: 8)
        assert Nx.to_binary(again) == Nx.to_binary(quantized)
      end
    end

    describe "errors" do
      test "say what can be quantized" do
        for {tensor, options, message} <- [
              {Nx.iota({2, 64}), [], ~r"expected numbers of f16, bf16 or f32, got s32; Nx.as_type/2"},
              {numbers({2, 64}, :f64), [], ~r"got f64"},
              {numbers({64}), [], ~r"at least two axes, got the shape \{64\}"},
              {numbers({2, 63}), [], ~r"axis 1 of the shape \{2, 63\} does not divide into groups of 64"},
              {numbers({2, 64}), [axis: 0], ~r"axis 0 of the shape \{2, 64\} does not divide"},
              {numbers({2, 64}), [group_size: 0], ~r"groups of 0"},
              {numbers({2, 64}), [mode: :int4], ~r"expected :mode to be one of .*:affine.*, got: :int4"},
              {numbers({2, 64}), [bit: 4], ~r"Mlx.Nx.quantize: .*:bit"},
              {numbers({2, 64}), [axis: 2], ~r"axis"}
            ] do
          assert_raise ArgumentError, message, fn -> Mlx.Nx.quantize(tensor, options) end
        end

        for options <- [[bits: 7], [group_size: 16]] do
          assert_raise Mlx.Error, ~r/^Mlx.quantize: /, fn -> Mlx.Nx.quantize(numbers({2, 64}), options) end
        end

        assert_raise ArgumentError, ~r"Mlx.Nx.quantize: a tensor has no numbers inside of a definition", fn ->
          Nx.Defn.jit_apply(&Mlx.Nx.quantize/1, [numbers({2, 64})], compiler: Mlx)
        end
      end

      test "say which arrays are those of a quantized tensor" do
        {weights, scales, biases} = Mlx.quantize(Mlx.ones({4, 64}))

        for {arrays, options} <- [
              {{weights, scales}, []},
              {{scales, weights, biases}, []},
              {{weights, scales, biases}, [bits: 8]},
              {{weights, scales, biases}, [mode: :mxfp4]},
              {{weights, scales, Mlx.ones({3, 1})}, []},
              {{weights[0..2], scales, biases}, []},
              {weights, []}
            ] do
          assert_raise ArgumentError, ~r"Mlx.Nx.from_quantized: expected the arrays that Mlx.quantize/2 gives", fn ->
            Mlx.Nx.from_quantized(arrays, options)
          end
        end

        assert_raise ArgumentError, ~r"Mlx.Nx.to_quantized: this tensor of f32 is not quantized", fn ->
          Mlx.Nx.to_quantized(numbers({2, 64}))
        end
      end
    end

    if Code.ensure_loaded?(Axon) do
      describe "Axon" do
        setup do
          model =
            Axon.input("tokens", shape: {nil, 6})
            |> Axon.embedding(16, 64, name: "table")
            |> Axon.dense(128, activation: :relu, name: "wide")
            |> Axon.dense(64, name: "narrow")
            |> Axon.layer_norm()
            |> Axon.dense(5, name: "classes")

          {init, _predict} = Axon.build(model, compiler: Nx.Defn.Evaluator)
          tokens = Nx.remainder(Nx.iota({2, 6}), 16)
          state = init.(tokens, Axon.ModelState.empty())
          kernel = fn kernel -> Mlx.Nx.quantize(kernel, axis: 0) end
          table = fn kernel -> Mlx.Nx.quantize(kernel) end

          data =
            Enum.reduce([{"table", table}, {"wide", kernel}, {"narrow", kernel}, {"classes", kernel}], state.data, fn
              {layer, quantize}, data -> update_in(data, [layer, "kernel"], quantize)
            end)

          %{model: model, state: %{state | data: data}, tokens: tokens}
        end

        test "computes layers whose kernels are quantized", %{model: model, state: state, tokens: tokens} do
          plain = %{state | data: Nx.backend_copy(state.data, Nx.BinaryBackend)}
          expected = Axon.predict(model, plain, plain(tokens), compiler: Nx.Defn.Evaluator)

          for compiler <- [Nx.Defn.Evaluator, Mlx] do
            assert_close(Axon.predict(model, state, tokens, compiler: compiler), expected)
          end
        end

        test "trains other layers than those", %{model: model, state: state, tokens: tokens} do
          batch = {tokens, Nx.broadcast(0.5, {2, 6, 5})}
          quantized = ["table", "wide", "narrow", "classes"]
          {init, step} = Axon.Loop.train_step(model, :mean_squared_error, :sgd)

          losses =
            for compiler <- [Nx.Defn.Evaluator, Mlx] do
              run = fn fun, argument -> Nx.Defn.jit_apply(fun, [batch, argument], compiler: compiler) end
              freeze = fn state -> Axon.ModelState.freeze(state, fn [layer | _] -> layer in quantized end) end
              state = update_in(run.(init, state), [:model_state], freeze)
              next = run.(step, run.(step, state))
              assert Enum.all?(quantized, &Mlx.Nx.quantized?(next.model_state.data[&1]["kernel"]))
              assert Nx.to_number(next.loss) > 0
              Nx.to_number(next.loss)
            end

          assert_in_delta hd(losses), List.last(losses), 1.0e-4
        end
      end
    end
  end
end
