defmodule Mlx.Ops.PackedProductsTest do
  # Products with the quantized matrices of language models on a CPU, which have kernels of this library.
  use ExUnit.Case, async: true

  # Of the largest element: a rounding of the result. MLX unpacks into the type of the scales, and so rounds elements.
  @tolerances %{f32: 1.0e-5, f16: 2.0e-3, bf16: 1.6e-2}

  # Rows that are multiplied together, one after the other, and in two chunks.
  @rows [{}, {1}, {3}, {4}, {1, 6}, {2, 1, 5}, {131}]

  # Outputs and columns: of one tile, with a rest, of several panels, of several threads.
  @matrices [{6, 64}, {1, 128}, {13, 192}, {20, 1024}, {7, 2368}, {9001, 384}]

  defp on_cpu(fun), do: Mlx.with_device(:cpu, fun)
  defp normal(shape, seed), do: Mlx.Random.normal(shape, key: Mlx.Random.key(seed))
  defp with_columns(rows, columns), do: List.to_tuple(Tuple.to_list(rows) ++ [columns])

  defp packed({outputs, columns}, type, options) do
    {words, scales, biases} = Mlx.quantize(normal({outputs, columns}, outputs + columns), options)
    {words, Mlx.as_type(scales, type), Mlx.as_type(biases, type)}
  end

  defp unpacked({words, scales, biases}, options),
    do: Mlx.dequantize(words, Mlx.as_type(scales, :f32), Mlx.as_type(biases, :f32), options)

  defp product(x, {words, scales, biases}, options) do
    Mlx.Native.fast_packed_matmul(x, words, scales, biases, options[:group_size], options[:bits], nil)
  end

  defp dense(x, matrix), do: Mlx.matmul(Mlx.as_type(x, :f32), Mlx.transpose(matrix))
  defp largest(array), do: array |> Mlx.abs() |> Mlx.reduce_max() |> Mlx.to_number()

  defp assert_near(product, expected, type) do
    assert {product.shape, product.type} == {expected.shape, type}
    difference = expected |> Mlx.subtract(Mlx.as_type(product, :f32)) |> largest()
    assert difference <= @tolerances[type] * largest(expected)
  end

  for bits <- [4, 8], group_size <- [32, 64, 128] do
    test "of #{bits} bits in groups of #{group_size} are those of the unpacked matrices" do
      options = [bits: unquote(bits), group_size: unquote(group_size)]

      on_cpu(fn ->
        for {outputs, columns} = shape <- @matrices, rem(columns, unquote(group_size)) == 0 do
          matrix = packed(shape, :f32, options)
          dense = unpacked(matrix, options)

          for rows <- @rows, outputs < 1000 or tuple_size(rows) < 3 do
            x = normal(with_columns(rows, columns), columns)
            assert_near(product(x, matrix, options), dense(x, dense), :f32)
          end
        end
      end)
    end
  end

  test "of each type" do
    options = [bits: 4, group_size: 32]

    on_cpu(fn ->
      for type <- [:f32, :f16, :bf16], factors <- [:f32, :f16, :bf16], rows <- [{1}, {5}] do
        matrix = packed({77, 1088}, factors, options)
        x = rows |> with_columns(1088) |> normal(1) |> Mlx.as_type(type)
        expected = if type == factors, do: type, else: :f32
        assert_near(product(x, matrix, options), dense(x, unpacked(matrix, options)), expected)
      end
    end)
  end

  test "have the same bits alone and among others" do
    options = [bits: 4, group_size: 64]

    on_cpu(fn ->
      matrix = packed({10_000, 1152}, :f32, options)
      x = normal({40, 1152}, 3)
      together = product(x, matrix, options)

      for row <- [0, 17, 39] do
        alone = product(x[row], matrix, options)
        assert Mlx.to_binary(alone) == Mlx.to_binary(together[row])
      end
    end)
  end

  test "of arrays whose elements lie anywhere in memory" do
    options = [bits: 8, group_size: 32]

    on_cpu(fn ->
      {words, scales, biases} = packed({64, 128}, :f32, options)
      dense = unpacked({words, scales, biases}, options)

      for x <- [
            Mlx.transpose(normal({128, 5}, 1)),
            Mlx.slice(normal({9, 256}, 2), [1, 0], [8, 256], strides: [3, 2]),
            Mlx.broadcast(normal({1, 128}, 3), {2, 3, 128}),
            Mlx.reverse(normal({4, 128}, 4))
          ] do
        assert_near(product(x, {words, scales, biases}, options), dense(x, dense), :f32)
      end

      # Every third row, from the second on, and rows from the last to the first.
      for {first, step, count} <- [{1, 3, 21}, {63, -1, 64}] do
        pick = fn array ->
          columns = elem(array.shape, 1)
          Mlx.as_strided(array, {count, columns}, [step * columns, 1], offset: first * columns)
        end

        x = normal({3, 128}, 5)
        assert_near(product(x, {pick.(words), pick.(scales), pick.(biases)}, options), dense(x, pick.(dense)), :f32)
      end
    end)
  end

  test "are MLX's where the library has no kernel" do
    on_cpu(fn ->
      for {shape, options} <- [
            {{8, 96}, [bits: 4, group_size: 32]},
            {{8, 128}, [bits: 2, group_size: 32]},
            {{8, 128}, [bits: 6, group_size: 64]}
          ] do
        matrix = packed(shape, :f32, options)
        x = normal({3, elem(shape, 1)}, 1)
        assert_near(product(x, matrix, options), dense(x, unpacked(matrix, options)), :f32)
      end
    end)
  end

  test "have derivatives, can be mapped, compiled and recorded for other shapes" do
    options = [bits: 4, group_size: 32]

    on_cpu(fn ->
      matrix = packed({12, 128}, :f32, options)
      dense = unpacked(matrix, options)
      x = normal({2, 5, 128}, 1)
      sum = fn product -> Mlx.sum(Mlx.square(product)) end

      slope = Mlx.grad(fn x -> sum.(product(x, matrix, options)) end).(x)
      assert_near(slope, Mlx.grad(fn x -> sum.(dense(x, dense)) end).(x), :f32)

      expected = dense(x, dense)
      assert_near(Mlx.vmap(fn x -> product(x, matrix, options) end).(x), expected, :f32)

      for shapeless <- [false, true] do
        compiled = Mlx.compile(fn x -> product(Mlx.multiply(x, 2), matrix, options) end, shapeless: shapeless)
        for x <- [x, normal({7, 128}, 2)], do: assert_near(compiled.(x), dense(Mlx.multiply(x, 2), dense), :f32)
      end
    end)
  end

  test "of many processes at once are right" do
    options = [bits: 4, group_size: 32]
    matrix = on_cpu(fn -> Mlx.eval(packed({5000, 512}, :f32, options)) end)

    1..24
    |> Task.async_stream(
      fn seed ->
        on_cpu(fn ->
          x = normal({rem(seed, 5) + 1, 512}, seed)
          assert_near(product(x, matrix, options), dense(x, unpacked(matrix, options)), :f32)
        end)
      end,
      max_concurrency: 8,
      timeout: :infinity
    )
    |> Stream.run()
  end
end
