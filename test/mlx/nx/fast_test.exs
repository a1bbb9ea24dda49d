if Code.ensure_loaded?(Nx) do
  defmodule Mlx.Nx.FastTest do
    use ExUnit.Case, async: true

    import Nx.Defn

    alias Mlx.Nx.Fast

    doctest Mlx.Nx.Fast

    # The same values composed of Nx's functions, as one operation of MLX, and compiled; the latter two without any function
    # that composes them.
    defp check(fun, arguments, tolerance \\ 1.0e-5) do
      expected = Nx.with_default_backend(Nx.BinaryBackend, fn -> apply(fun, arguments) end)
      assert %Nx.BinaryBackend{} = expected.data
      copies = Enum.map(arguments, &Nx.backend_copy(&1, Mlx.Backend))
      assert_close(apply(fun, copies), expected, tolerance)
      assert_close(Nx.Defn.jit_apply(fun, arguments, compiler: Mlx), expected, tolerance)
      expected
    end

    defp assert_close(a, b, tolerance) do
      assert %Mlx.Backend{} = a.data
      assert {a.shape, a.type, a.names} == {b.shape, b.type, b.names}
      a = Nx.backend_copy(a, Nx.BinaryBackend)
      assert Nx.to_number(Nx.all_close(a, b, rtol: tolerance, atol: tolerance)) == 1, inspect({a, b})
    end

    defp numbers(shape, seed, type \\ :f32) do
      Nx.with_default_backend(Nx.BinaryBackend, fn ->
        {numbers, _key} = Nx.Random.normal(Nx.Random.key(seed), shape: shape)
        Nx.as_type(numbers, type)
      end)
    end

    defp primitives(fun, arguments) do
      lazy = Enum.map(arguments, &Nx.backend_copy(&1, {Mlx.Backend, lazy: true}))
      dot = fun |> apply(lazy) |> Mlx.Nx.from_nx() |> Mlx.export_to_dot()
      for [_, name] <- Regex.scan(~r/label ="(\w+)"/, dot), do: name
    end

    test "normalisation" do
      x = Nx.rename(numbers({2, 3, 8}, 1), [:batch, nil, :features])
      [weight, bias] = [numbers({8}, 2), numbers({8}, 3)]
      check(&Fast.rms_norm(&1, nil), [x])
      check(&Fast.rms_norm(&1, &2, eps: 0.1), [x, weight])
      check(&Fast.layer_norm(&1, nil, nil), [x])
      check(&Fast.layer_norm(&1, &2, nil), [x, weight])
      check(&Fast.layer_norm(&1, nil, &2), [x, bias])
      check(&Fast.layer_norm(&1, &2, &3, eps: 0.1), [x, weight, bias])
      check(&Fast.rms_norm(&1, &2), [Nx.as_type(x, :bf16), Nx.as_type(weight, :bf16)], 2.0e-2)
      assert check(&Fast.rms_norm(&1, &2), [Nx.iota({2, 8}, backend: Nx.BinaryBackend), weight]).type == {:f, 32}
    end

    test "rotary positional encoding" do
      x = numbers({2, 2, 5, 8}, 4)
      check(&Fast.rope(&1, 8), [x])
      check(&Fast.rope(&1, 4, traditional: true, base: 100, scale: 0.5, offset: 3), [x])
      check(&Fast.rope(&1, 6, offset: 7), [x])
      check(&Fast.rope(&1, 8, offset: &2), [x, Nx.tensor([3, 11], backend: Nx.BinaryBackend)])
      check(&Fast.rope(&1, 8, freqs: &2), [x, Nx.tensor([1.0, 3.0, 9.0, 27.0], backend: Nx.BinaryBackend)])
      check(&Fast.rope(&1, 8), [Nx.as_type(x, :f16)], 1.0e-2)
    end

    test "attention" do
      queries = Nx.rename(numbers({2, 4, 3, 8}, 5), [:b, :h, :l, :f])
      [keys, values] = [numbers({2, 2, 5, 8}, 6), numbers({2, 2, 5, 8}, 7)]
      check(&Fast.scaled_dot_product_attention/3, [queries, keys, values])
      check(&Fast.scaled_dot_product_attention(&1, &2, &3, scale: 0.1, mask: :causal), [queries, keys, values])
      mask = numbers({3, 5}, 8)
      check(&Fast.scaled_dot_product_attention(&1, &2, &3, mask: &4), [queries, keys, values, mask])
      check(&Fast.scaled_dot_product_attention(&1, &2, &3, mask: Nx.greater(&4, 0)), [queries, keys, values, mask])
      sinks = numbers({4}, 9)

      for options <- [[], [mask: :causal], [mask: Nx.greater(mask, 0)], [mask: mask]] do
        attend = &Fast.scaled_dot_product_attention(&1, &2, &3, [sinks: &4] ++ options)
        check(attend, [queries, keys, values, sinks])
      end

      # A sink that takes all leaves nothing.
      nothing = Fast.scaled_dot_product_attention(queries, keys, values, sinks: Nx.tensor([50, 50, 50, 50]))
      assert nothing |> Nx.abs() |> Nx.reduce_max() |> Nx.to_number() < 1.0e-15
    end

    test "products with quantized matrices" do
      matrix = numbers({4, 128}, 9)

      for bits <- [2, 3, 4, 5, 6, 8], group_size <- [32, 64] do
        {weights, scales, biases} = Mlx.quantize(Mlx.Nx.from_nx(matrix), bits: bits, group_size: group_size)
        packed = for array <- [weights, scales, biases], do: Nx.backend_copy(Mlx.Nx.to_nx(array), Nx.BinaryBackend)
        options = [bits: bits, group_size: group_size]
        check(&Fast.quantized_matmul(&1, &2, &3, &4, options), [numbers({2, 3, 128}, 10) | packed], 1.0e-4)

        check(
          &Fast.quantized_matmul(&1, &2, &3, &4, [transpose: false] ++ options),
          [numbers({4}, 11) | packed],
          1.0e-4
        )
      end
    end

    test "are one operation of MLX" do
      x = numbers({1, 2, 3, 64}, 1)
      {weights, scales, biases} = Mlx.quantize(Mlx.ones({8, 64}))
      packed = Enum.map([weights, scales, biases], &Mlx.Nx.to_nx/1)
      assert "QuantizedMatmul" in primitives(&Fast.quantized_matmul/4, [x | packed])
      composed = primitives(&Mlx.Nx.Composition.compute(%Mlx.Nx.Block.RMSNorm{eps: 1.0e-5}, [&1]), [x])
      direct = Mlx.Fast.rms_norm(Mlx.Nx.from_nx(x), nil) |> Mlx.export_to_dot()
      names = for [_, name] <- Regex.scan(~r/label ="(\w+)"/, direct), do: name
      assert primitives(&Fast.rms_norm(&1, nil), [x]) == names
      assert names != composed
    end

    defn(block(x, weight), do: x |> Fast.rms_norm(weight) |> Fast.rope(4) |> Fast.scaled_dot_product_attention(x, x))
    defn(derivative(x, weight), do: grad({x, weight}, fn {x, weight} -> Nx.sum(Nx.sin(block(x, weight))) end))

    test "work in definitions, with derivatives and vectorized tensors" do
      [x, weight] = [numbers({1, 2, 3, 4}, 1), numbers({4}, 2)]
      check(&block/2, [x, weight])
      expected = Nx.Defn.jit_apply(&derivative/2, [x, weight], compiler: Nx.Defn.Evaluator)
      given = Nx.Defn.jit_apply(&derivative/2, [x, weight], compiler: Mlx)
      for index <- 0..1, do: assert_close(elem(given, index), elem(expected, index), 1.0e-4)

      rows = Nx.vectorize(numbers({2, 3, 4}, 3), :rows)
      norm = rows |> Fast.rms_norm(weight) |> Nx.devectorize(keep_names: false)

      assert_close(
        Nx.backend_copy(norm, Mlx.Backend),
        Fast.rms_norm(Nx.devectorize(rows, keep_names: false), weight),
        1.0e-5
      )
    end

    # The gradients of all arguments of floating-point numbers, and what they change with.
    defp gradients(fun, arguments, options) do
      first = &Nx.Defn.grad(&1, fn numbers -> fun |> apply(Tuple.to_list(numbers)) |> Nx.sin() |> Nx.sum() end)

      second =
        &Nx.Defn.grad(&1, fn numbers ->
          numbers
          |> first.()
          |> Tuple.to_list()
          |> Enum.map(fn x -> Nx.sum(Nx.cos(x)) end)
          |> Enum.reduce(fn a, b -> Nx.add(a, b) end)
        end)

      arguments = List.to_tuple(arguments)
      for derivative <- [first, second], do: Nx.Defn.jit_apply(derivative, [arguments], options)
    end

    # Against Nx's gradients of the composition.
    defp check_gradients(fun, block, arguments, tensors \\ & &1) do
      composed = Mlx.Arguments.Arity.function(length(arguments), &Mlx.Nx.Composition.compute(block, tensors.(&1)))

      expected =
        Nx.with_default_backend(Nx.BinaryBackend, fn -> gradients(composed, arguments, compiler: Nx.Defn.Evaluator) end)

      copies = Enum.map(arguments, &Nx.backend_copy(&1, Mlx.Backend))

      evaluated =
        Nx.with_default_backend(Mlx.Backend, fn -> gradients(fun, copies, compiler: Nx.Defn.Evaluator) end)

      for given <- [gradients(fun, arguments, compiler: Mlx), evaluated],
          {given, expected} <- Enum.zip(given, expected),
          {a, b} <- Enum.zip(Tuple.to_list(given), Tuple.to_list(expected)) do
        assert_close(a, b, 1.0e-3)
      end
    end

    test "have gradients, and gradients of these" do
      alias Mlx.Nx.Block
      x = numbers({2, 3, 8}, 1)
      [weight, bias] = [numbers({8}, 2), numbers({8}, 3)]
      check_gradients(&Fast.rms_norm(&1, nil), %Block.RMSNorm{eps: 1.0e-5}, [x])
      check_gradients(&Fast.rms_norm(&1, &2, eps: 0.1), %Block.RMSNorm{eps: 0.1}, [x, weight])
      check_gradients(&Fast.layer_norm(&1, nil, &2), %Block.LayerNorm{eps: 1.0e-5, bias: true}, [x, bias])
      layer_norm = %Block.LayerNorm{eps: 1.0e-5, weight: true, bias: true}
      check_gradients(&Fast.layer_norm/3, layer_norm, [x, weight, bias])

      rope = %Block.RoPE{dimensions: 6, traditional: false, base: 100, scale: 1}
      offset = Nx.tensor(3, type: :s32, backend: Nx.BinaryBackend)
      check_gradients(&Fast.rope(&1, 6, base: 100, offset: 3), rope, [x], &(&1 ++ [offset]))

      queries = numbers({2, 4, 3, 8}, 5)
      attended = [queries, numbers({2, 2, 5, 8}, 6), numbers({2, 2, 5, 8}, 7)]
      causal = %Block.Attention{scale: 0.3, causal: true}
      check_gradients(&Fast.scaled_dot_product_attention(&1, &2, &3, scale: 0.3, mask: :causal), causal, attended)

      masked = %Block.Attention{scale: 0.3, causal: false}
      mask = numbers({3, 5}, 8)
      allowed = Nx.greater(mask, 0)
      options = [scale: 0.3, mask: allowed]
      check_gradients(&Fast.scaled_dot_product_attention(&1, &2, &3, options), masked, attended, &(&1 ++ [allowed]))
      added = &Fast.scaled_dot_product_attention(&1, &2, &3, scale: 0.3, mask: &4)
      check_gradients(added, masked, attended ++ [mask])

      sunk = %Block.Attention{scale: 0.3, causal: true, sinks: true}
      attend = &Fast.scaled_dot_product_attention(&1, &2, &3, scale: 0.3, mask: :causal, sinks: &4)
      check_gradients(attend, sunk, attended ++ [numbers({4}, 9)])
    end

    test "refuse what does not fit" do
      x = numbers({1, 2, 3, 8}, 1)
      assert_raise ArgumentError, ~r/shape \{8\}, got: \{4\}/, fn -> Fast.rms_norm(x, numbers({4}, 1)) end
      assert_raise ArgumentError, ~r/even number of dimensions/, fn -> Fast.rope(x, 5) end
      assert_raise ArgumentError, ~r/at least 3 axes/, fn -> Fast.rope(numbers({3, 8}, 1), 8) end
      assert_raise ArgumentError, ~r/one :offset/, fn -> Fast.rope(x, 8, offset: Nx.tensor([1, 2])) end
      assert_raise ArgumentError, ~r/:freqs with one/, fn -> Fast.rope(x, 8, freqs: Nx.tensor([1.0])) end
      keys = numbers({1, 3, 3, 8}, 1)
      assert_raise ArgumentError, ~r/heads of queries/, fn -> Fast.scaled_dot_product_attention(x, keys, keys) end

      assert_raise ArgumentError, ~r/does not broadcast/, fn ->
        Fast.scaled_dot_product_attention(x, x, x, mask: keys)
      end

      assert_raise ArgumentError, ~r/:causal or a tensor/, fn ->
        Fast.scaled_dot_product_attention(x, x, x, mask: :other)
      end

      assert_raise ArgumentError, ~r/:sinks to have the shape \{2\}.*got: \{3\}/, fn ->
        Fast.scaled_dot_product_attention(x, x, x, sinks: Nx.tensor([1, 2, 3]))
      end

      assert_raise ArgumentError, ~r/not weights of u32/, fn -> Fast.quantized_matmul(x, x, x, x) end
    end
  end
end
