defmodule Mlx.Ops.SkinnyProductsTest do
  # Products of a few rows and a matrix, which have kernels of this library on CUDA.
  use ExUnit.Case, async: true

  # A rounding of the result, of so many bits, and of its summands.
  @tolerances %{bf16: 2.0e-2, f16: 3.0e-3}

  # Up to eight. More are MLX's, as are matrices that are no multiple of a tile.
  @rows [{1}, {2}, {3}, {5}, {8}, {1, 1}, {4, 1}, {2, 3}, {2, 2, 2}]

  defp normal(shape, seed, type), do: shape |> Mlx.Random.normal(key: Mlx.Random.key(seed)) |> Mlx.as_type(type)
  defp with_columns(rows, columns), do: List.to_tuple(Tuple.to_list(rows) ++ [columns])

  defp on_cpu(fun), do: Mlx.with_device(:cpu, fn -> fun.() |> Mlx.eval() end)

  defp wide_product(x, matrix) do
    on_cpu(fn -> Mlx.matmul(Mlx.as_type(x, :f32), Mlx.transpose(Mlx.as_type(matrix, :f32))) end)
  end

  defp assert_near(product, expected, type) do
    assert {product.shape, product.type} == {expected.shape, type}

    {difference, size} =
      on_cpu(fn ->
        difference = expected |> Mlx.subtract(Mlx.as_type(product, :f32)) |> Mlx.abs() |> Mlx.reduce_max()
        Mlx.stack([difference, expected |> Mlx.abs() |> Mlx.reduce_max()])
      end)
      |> Mlx.to_list()
      |> List.to_tuple()

    assert difference <= @tolerances[type] * size
  end

  for type <- [:bf16, :f16] do
    test "of matrices in #{type} are those in f32" do
      for {outputs, columns} <- [{512, 64}, {520, 192}, {1001, 640}, {512, 4160}, {600, 100}, {8, 256}] do
        matrix = normal({outputs, columns}, outputs + columns, unquote(type))

        for rows <- [{9} | @rows] do
          x = normal(with_columns(rows, columns), columns, unquote(type))
          assert_near(Mlx.matmul(x, Mlx.transpose(matrix)), wide_product(x, matrix), unquote(type))
        end
      end
    end

    test "of quantized matrices in #{type} are those of the unpacked ones" do
      for group_size <- [32, 64, 128], {outputs, columns} <- [{512, 256}, {520, 768}, {1001, 4352}] do
        options = [group_size: group_size, bits: 4]
        packed = normal({outputs, columns}, outputs + columns, unquote(type)) |> Mlx.quantize(options)
        {words, scales, biases} = packed

        unpacked =
          on_cpu(fn -> Mlx.dequantize(words, Mlx.as_type(scales, :f32), Mlx.as_type(biases, :f32), options) end)

        for rows <- @rows do
          x = normal(with_columns(rows, columns), columns, unquote(type))
          product = Mlx.quantized_matmul(x, words, scales, biases, options)
          assert_near(product, wide_product(x, unpacked), unquote(type))
        end
      end
    end

    test "of arrays in #{type} that begin anywhere in memory" do
      elements = normal({600 * 256 + 3}, 1, unquote(type))
      matrix = elements |> Mlx.slice([3], [600 * 256]) |> Mlx.reshape({600, 256})
      x = elements |> Mlx.slice([1], [512]) |> Mlx.reshape({2, 256})
      Mlx.eval([matrix, x])
      assert_near(Mlx.matmul(x, Mlx.transpose(matrix)), wide_product(x, matrix), unquote(type))

      {words, scales, biases} = Mlx.quantize(matrix, bits: 4)
      shifted = fn array -> [Mlx.zeros({1}, type: array.type), Mlx.flatten(array)] |> Mlx.concatenate() end
      at_one = fn array -> array |> shifted.() |> Mlx.slice([1], [Mlx.size(array)]) |> Mlx.reshape(array.shape) end
      moved = Enum.map([words, scales, biases], at_one)
      Mlx.eval(moved)
      [moved_words, moved_scales, moved_biases] = moved

      assert Mlx.to_list(Mlx.quantized_matmul(x, moved_words, moved_scales, moved_biases, bits: 4)) ==
               Mlx.to_list(Mlx.quantized_matmul(x, words, scales, biases, bits: 4))
    end
  end

  test "of columns, repeated rows and transposed factors" do
    matrix = normal({512, 256}, 2, :bf16)
    columns = Mlx.slice(matrix, [0, 64], [512, 128])
    x = normal({128, 3}, 3, :bf16) |> Mlx.transpose()
    repeated = Mlx.broadcast(normal({1, 128}, 4, :bf16), {4, 128})

    for factor <- [x, repeated],
        do: assert_near(Mlx.matmul(factor, Mlx.transpose(columns)), wide_product(factor, columns), :bf16)
  end

  test "of what is normed, and with what is added" do
    matrix = normal({520, 768}, 10, :bf16)
    {words, scales, biases} = Mlx.quantize(matrix, bits: 4)
    unpacked = on_cpu(fn -> Mlx.dequantize(words, Mlx.as_type(scales, :f32), Mlx.as_type(biases, :f32), bits: 4) end)
    weight = normal({768}, 11, :bf16)
    plain = &Mlx.matmul(&1, Mlx.transpose(matrix))
    packed = &Mlx.quantized_matmul(&1, words, scales, biases, bits: 4)

    for {product, wide_matrix} <- [{plain, matrix}, {packed, unpacked}], rows <- [{1}, {3}, {1, 8}] do
      x = normal(with_columns(rows, 768), 12, :bf16) |> Mlx.multiply(3) |> Mlx.add(1)
      addend = normal(with_columns(rows, 520), 13, :bf16) |> Mlx.multiply(30)

      norm = on_cpu(fn -> Mlx.Fast.rms_norm(Mlx.as_type(x, :f32), Mlx.as_type(weight, :f32), eps: 1.0e-2) end)
      expected = wide_product(norm, wide_matrix)
      expected_sum = on_cpu(fn -> Mlx.add(expected, Mlx.as_type(addend, :f32)) end)

      normed = product.(Mlx.Fast.rms_norm(x, weight, eps: 1.0e-2))
      sums = [Mlx.add(normed, addend), Mlx.add(addend, normed)]
      for sum <- sums, do: assert_near(sum, expected_sum, :bf16)
      assert_near(normed, expected, :bf16)
      assert_near(Mlx.add(normed, addend), expected_sum, :bf16)
      assert_near(Mlx.add(product.(x), addend), on_cpu(fn -> Mlx.add(wide_product(x, wide_matrix), addend) end), :bf16)

      step = Mlx.compile(fn x, addend -> Mlx.add(addend, product.(Mlx.Fast.rms_norm(x, weight, eps: 1.0e-2))) end)
      assert_near(step.(x, addend), expected_sum, :bf16)
      twice = Mlx.compile(fn x -> product.(x) |> then(&Mlx.add(&1, &1)) end)
      assert_near(twice.(x), on_cpu(fn -> Mlx.multiply(wide_product(x, wide_matrix), 2) end), :bf16)
    end
  end

  if Mlx.CUDA.available?() do
    test "give a row the same result in any company" do
      matrix = normal({700, 512}, 5, :bf16)
      {words, scales, biases} = Mlx.quantize(matrix, bits: 4)
      plain = &Mlx.matmul(&1, Mlx.transpose(matrix))
      packed = &Mlx.quantized_matmul(&1, words, scales, biases, bits: 4)

      for product <- [plain, packed] do
        x = normal({8, 512}, 6, :bf16)
        together = product.(x)

        for row <- 0..7 do
          apart = product.(Mlx.slice(x, [row, 0], [1, 512]))
          assert Mlx.to_list(apart) == Mlx.to_list(Mlx.slice(together, [row, 0], [1, 700]))
        end
      end
    end
  end

  # On CUDA, MLX compiles some of its kernels for half a minute.
  @tag timeout: 300_000
  test "are differentiated, mapped, compiled, and compiled for other shapes" do
    matrix = normal({512, 256}, 7, :bf16)
    {words, scales, biases} = Mlx.quantize(matrix, bits: 4)
    x = normal({2, 256}, 8, :bf16)

    for product <- [&Mlx.matmul(&1, Mlx.transpose(matrix)), &Mlx.quantized_matmul(&1, words, scales, biases, bits: 4)] do
      expected = product.(x)
      wide = on_cpu(fn -> Mlx.as_type(expected, :f32) end)
      assert_near(Mlx.vmap(product).(Mlx.new_axis(x, 1)) |> Mlx.squeeze(axes: [1]), wide, :bf16)
      assert_near(Mlx.compile(product).(x), wide, :bf16)

      shapeless = Mlx.compile(product, shapeless: true)
      assert_near(shapeless.(x), wide, :bf16)
      assert shapeless.(Mlx.concatenate([x, x, x, x, x], axis: 0)).shape == {10, 512}

      sum = fn x -> product.(x) |> Mlx.as_type(:f32) |> Mlx.sum() end
      assert Mlx.grad(sum).(x).shape == {2, 256}
      assert Mlx.grad(Mlx.compile(sum)).(x).shape == {2, 256}
      assert Mlx.compile(Mlx.grad(sum)).(x).shape == {2, 256}
    end
  end
end
