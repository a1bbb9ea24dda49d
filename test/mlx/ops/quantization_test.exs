defmodule Mlx.Ops.QuantizationTest do
  use ExUnit.Case, async: true

  import Mlx.Oracle

  @moduletag :oracle

  defp wave(shape, type \\ :f32) do
    Mlx.arange(Tuple.product(shape), type: :f32) |> Mlx.sin() |> Mlx.reshape(shape) |> Mlx.as_type(type)
  end

  # The result of quantize/2 in three parts.
  defp parts({weights, scales, biases}), do: {weights, scales, biases}
  defp parts({weights, scales}), do: {weights, scales, nil}

  @modes [
    [],
    [group_size: 32, bits: 8],
    [group_size: 128, bits: 2],
    [bits: 3],
    [bits: 5],
    [bits: 6],
    [mode: :mxfp4],
    [mode: :mxfp8],
    [mode: :nvfp4]
  ]

  defp python(options) do
    Enum.map_join(options, fn
      {:mode, mode} -> ", mode='#{mode}'"
      {name, value} -> ", #{name}=#{value}"
    end)
  end

  test "f64 is refused where it is given, and not where another value is read" do
    [w, scales, biases] = Tuple.to_list(Mlx.quantize(Mlx.ones({2, 64})))
    x = Mlx.ones({1, 64}, type: :f64)
    assert_raise Mlx.Error, ~r/Mlx.quantize: .*f64/, fn -> Mlx.quantize(x) end
    assert_raise Mlx.Error, ~r/Mlx.quantized_matmul: .*f64/, fn -> Mlx.quantized_matmul(x, w, scales, biases) end
    assert_raise Mlx.Error, ~r/Mlx.gather_qmm: .*f64/, fn -> Mlx.gather_qmm(x, w, scales, biases) end
  end

  test "quantize, dequantize and quantized_matmul in all modes" do
    w = wave({16, 256})
    x = wave({3, 256})

    for options <- @modes do
      quantized = Mlx.quantize(w, options)
      assert_oracle(quantized, "mx.quantize(w#{python(options)})", w: w)
      {weights, scales, biases} = parts(quantized)

      arrays = [w: weights, s: scales] ++ if(biases, do: [b: biases], else: [])
      arguments = if biases, do: "w, s, b", else: "w, s"
      dequantized = Mlx.dequantize(weights, scales, biases, options)
      assert_oracle(dequantized, "mx.dequantize(#{arguments}#{python(options)})", arrays)

      product = Mlx.quantized_matmul(x, weights, scales, biases, options)
      assert_oracle(product, "mx.quantized_matmul(x, #{arguments}#{python(options)})", [x: x] ++ arrays)
    end
  end

  test "without transposing" do
    {weights, scales, biases} = Mlx.quantize(wave({64, 128}))
    x = wave({2, 64})
    product = Mlx.quantized_matmul(x, weights, scales, biases, transpose: false)
    arrays = [x: x, w: weights, s: scales, b: biases]
    assert_oracle(product, "mx.quantized_matmul(x, w, s, b, transpose=False)", arrays)
  end

  test "dequantize to a type" do
    {weights, scales} = Mlx.quantize(wave({2, 64}), mode: :mxfp4)
    dequantized = Mlx.dequantize(weights, scales, nil, mode: :mxfp4, type: :f16)
    assert_oracle(dequantized, "mx.dequantize(w, s, mode='mxfp4', dtype=mx.float16)", w: weights, s: scales)
  end

  test "gather_qmm" do
    {weights, scales, biases} = Mlx.quantize(wave({4, 8, 64}))
    x = wave({5, 1, 64})
    right = Mlx.array([3, 0], type: :u32)
    left = Mlx.array([4, 1], type: :u32)
    gathered = Mlx.gather_qmm(x, weights, scales, biases, left_indices: left, right_indices: right)
    arrays = [x: x, w: weights, s: scales, b: biases, l: left, r: right]
    assert_oracle(gathered, "mx.gather_qmm(x, w, s, b, l, r)", arrays)
  end

  test "8-bit floats" do
    x = wave({20})
    assert_oracle(Mlx.to_fp8(x), "mx.to_fp8(x)", x: x)
    assert_oracle(Mlx.from_fp8(Mlx.to_fp8(x)), "mx.from_fp8(mx.to_fp8(x))", x: x)
    assert_oracle(Mlx.from_fp8(Mlx.to_fp8(x), type: :f32), "mx.from_fp8(mx.to_fp8(x), mx.float32)", x: x)
  end

  test "what does not fit raises" do
    assert_raise Mlx.Error, fn -> Mlx.quantize(wave({2, 48})) end
    assert_raise Mlx.Error, fn -> Mlx.quantize(wave({2, 64}), bits: 7) end
    assert_raise Mlx.Error, fn -> Mlx.quantize(wave({64})) end
    assert_raise ArgumentError, ~r/expected :mode/, fn -> Mlx.quantize(wave({2, 64}), mode: :q4) end
    {weights, scales, biases} = Mlx.quantize(wave({2, 64}))
    assert_raise Mlx.Error, fn -> Mlx.dequantize(weights, scales, nil) end
    assert_raise Mlx.Error, fn -> Mlx.quantized_matmul(wave({1, 32}), weights, scales, biases) end
    assert_raise ArgumentError, ~r/Mlx.qqmm: expected :mode/, fn -> Mlx.qqmm(wave({1, 64}), weights, mode: :x) end
  end

  test "products of two quantized matrices need a GPU" do
    x = wave({2, 64})
    assert_raise Mlx.Error, fn -> Mlx.eval(Mlx.qqmm(x, wave({4, 64}), stream: :cpu)) end
    assert_raise Mlx.Error, fn -> Mlx.eval(Mlx.gather_qqmm(x, wave({1, 4, 64}), stream: :cpu)) end
  end

  test "scales and biases must have the rows of the weights" do
    {weights, scales, biases} = Mlx.quantize(wave({4, 64}))
    x = wave({1, 64})
    message = ~r/a row for each row of the weights/
    assert_raise ArgumentError, message, fn -> Mlx.quantized_matmul(x, weights, scales[0..1], biases[0..1]) end
    assert_raise ArgumentError, message, fn -> Mlx.quantized_matmul(x, weights, scales, biases[0..1]) end
    assert_raise ArgumentError, message, fn -> Mlx.gather_qmm(x, weights, scales[0..1], biases[0..1]) end

    assert_raise ArgumentError, ~r/no elements/, fn ->
      Mlx.quantized_matmul(Mlx.zeros({0, 64}), weights, scales, biases)
    end

    assert_raise ArgumentError, ~r/:group_size cannot be 0/, fn -> Mlx.quantize(wave({2, 64}), group_size: 0) end
  end

  test "an odd number of groups in the mode :nvfp4, which MLX cannot pack on a CPU" do
    for shape <- [{33, 16}, {1, 16}, {3, 48}, {3, 1, 16}], type <- [:f32, :f16] do
      columns = elem(shape, tuple_size(shape) - 1)
      rows = div(Tuple.product(shape), columns)
      whole = wave({rows + 1, columns}, type)
      {weights, scales} = Mlx.quantize(whole, mode: :nvfp4)
      {own_weights, own_scales} = Mlx.quantize(Mlx.reshape(whole[0..-2//1], shape), mode: :nvfp4)

      assert {own_weights.shape, own_weights.type} == {put_elem(shape, tuple_size(shape) - 1, div(columns, 8)), :u32}
      assert {own_scales.shape, own_scales.type} == {put_elem(shape, tuple_size(shape) - 1, div(columns, 16)), :u8}
      assert Mlx.to_flat_list(own_weights) == Mlx.to_flat_list(weights[0..-2//1])
      assert Mlx.to_flat_list(own_scales) == Mlx.to_flat_list(scales[0..-2//1])
    end

    assert_raise Mlx.Error, ~r/Mlx.quantize: .*divisible by the quantization group size 16/, fn ->
      Mlx.quantize(Mlx.ones({3, 24}), mode: :nvfp4)
    end
  end

  test "quantized_matmul can be mapped, over the operand and over the weights" do
    w = wave({3, 16, 128})
    x = wave({3, 2, 128})

    for options <- @modes, type <- [:f32, :f16] do
      x = Mlx.as_type(x, type)
      {weights, scales, biases} = w |> Mlx.quantize(options) |> parts()
      expected = Mlx.quantized_matmul(x, weights, scales, biases, options)

      first = {weights[0], scales[0], biases && biases[0]}
      product = fn x, {weights, scales, biases} -> Mlx.quantized_matmul(x, weights, scales, biases, options) end

      of_weights = Mlx.vmap(product).(x, {weights, scales, biases})
      assert of_weights.type == expected.type
      assert_close(of_weights, expected)

      of_operand = Mlx.vmap(&product.(&1, first)).(x)
      assert_close(of_operand, product.(x, first))

      vectors = Mlx.vmap(Mlx.vmap(&product.(&1, first))).(x)
      assert_close(vectors, of_operand)

      gradient = Mlx.vmap(Mlx.grad(fn x -> Mlx.sum(product.(x, first)) end)).(x)
      one_by_one = for i <- 0..2, do: Mlx.grad(fn x -> Mlx.sum(product.(x, first)) end).(x[i])
      assert_close(gradient, Mlx.stack(one_by_one))
    end
  end

  test "quantized_matmul by the transpose of the weights can be mapped" do
    {weights, scales, biases} = Mlx.quantize(wave({64, 128}))
    x = wave({3, 2, 64})
    product = fn x -> Mlx.quantized_matmul(x, weights, scales, biases, transpose: false) end
    assert_close(Mlx.vmap(product).(x), product.(x))
  end

  test "gather_qmm can be mapped, over the operand, the weights and the indices" do
    w = wave({3, 4, 16, 128})
    x = wave({3, 5, 2, 128})
    [left, right] = for list <- [[[0, 4], [2, 1], [3, 3]], [[3, 0], [1, 1], [2, 3]]], do: Mlx.array(list, type: :u32)

    for options <- @modes, type <- [:f32, :bf16] do
      x = Mlx.as_type(x, type)
      {weights, scales, biases} = w |> Mlx.as_type(type) |> Mlx.quantize(options) |> parts()

      product = fn x, {weights, scales, biases}, left, right ->
        Mlx.gather_qmm(x, weights, scales, biases, [left_indices: left, right_indices: right] ++ options)
      end

      matrices = for i <- 0..2, do: {weights[i], scales[i], biases && biases[i]}
      one = fn i, j -> product.(x[i], Enum.at(matrices, j), left[i], right[j]) end
      first = hd(matrices)

      of_all = Mlx.vmap(product).(x, {weights, scales, biases}, left, right)
      assert {of_all.shape, of_all.type} == {{3, 2, 2, 16}, type}
      assert_close(of_all, Mlx.stack(for i <- 0..2, do: one.(i, i)))

      of_left = Mlx.vmap(&product.(&1, first, &2, right[0])).(x, left)
      assert_close(of_left, Mlx.stack(for i <- 0..2, do: one.(i, 0)))

      loss = fn x -> Mlx.sum(product.(x, first, nil, Mlx.array([1, 1, 2, 3, 0]))) end
      assert_close(Mlx.vmap(Mlx.grad(loss)).(x), Mlx.stack(for i <- 0..2, do: Mlx.grad(loss).(x[i])))
    end
  end

  test "quantize and to_fp8 can be mapped over any axis, twice, and in a compiled function" do
    w = wave({2, 3, 4, 64})

    for options <- [[mode: :affine], [mode: :mxfp4], [mode: :mxfp8], [mode: :nvfp4], :to_fp8], type <- [:f32, :bf16] do
      quantize = if options == :to_fp8, do: &{Mlx.to_fp8(&1)}, else: &Mlx.quantize(&1, options)
      w = Mlx.as_type(w, type)
      expected = Enum.map(Tuple.to_list(quantize.(w)), &Mlx.to_list/1)
      twice = Mlx.vmap(Mlx.vmap(quantize))

      for mapped <- [Mlx.vmap(quantize), twice, Mlx.compile(twice)] do
        assert Enum.map(Tuple.to_list(mapped.(w)), &Mlx.to_list/1) == expected
      end

      for axis <- 0..2 do
        slices = for index <- 0..(elem(w.shape, axis) - 1), do: Tuple.to_list(quantize.(Mlx.take(w, index, axis: axis)))
        stacked = for parts <- Enum.zip_with(slices, & &1), do: Mlx.to_list(Mlx.stack(parts))
        assert Enum.map(Tuple.to_list(Mlx.vmap(quantize, in_axes: axis).(w)), &Mlx.to_list/1) == stacked
      end
    end
  end

  test "a scale for a whole matrix can be mapped, also alone" do
    {w, scales} = {wave({3, 4, 64}), Mlx.array([1.0, 2.0, 4.0])}
    quantize = &Mlx.quantize(&1, mode: :nvfp4, global_scale: &2)

    for {w_axis, slice} <- [{0, &w[&1]}, {nil, fn _ -> w end}] do
      {weights, factors} = Mlx.vmap(quantize, in_axes: [w_axis, 0]).(w, scales)

      for index <- 0..2 do
        {own_weights, own_factors} = quantize.(slice.(index), scales[index])
        assert Mlx.to_list(weights[index]) == Mlx.to_list(own_weights)
        assert Mlx.to_list(factors[index]) == Mlx.to_list(own_factors)
      end
    end
  end

  test "matrices of floats and 8-bit floats can be mapped" do
    w = wave({3, 4, 128})

    for mode <- [:mxfp4, :mxfp8, :nvfp4], type <- [nil, :f32, :f16], axis <- 0..1 do
      {weights, scales} = Mlx.quantize(w, mode: mode)
      options = [mode: mode, type: type]
      mapped = Mlx.vmap(&Mlx.dequantize(&1, &2, nil, options), in_axes: axis, out_axes: axis).(weights, scales)
      expected = Mlx.dequantize(weights, scales, nil, options)
      assert {mapped.type, Mlx.to_list(mapped)} == {expected.type, Mlx.to_list(expected)}
    end

    {weights, scales} = Mlx.quantize(w, mode: :nvfp4, global_scale: Mlx.array(2.0))
    options = [mode: :nvfp4, global_scale: Mlx.array(2.0), type: :f32]
    mapped = Mlx.vmap(&Mlx.dequantize(&1, &2, nil, options)).(weights, scales)
    assert_close(mapped, Mlx.dequantize(weights, scales, nil, options))

    bytes = Mlx.arange(256, type: :u8) |> Mlx.reshape({2, 128})
    from_fp8 = fn bytes -> Mlx.from_fp8(bytes, type: :f32) end
    assert inspect(Mlx.to_list(Mlx.vmap(from_fp8).(bytes))) == inspect(Mlx.to_list(from_fp8.(bytes)))
  end

  # Of so many elements, sums in 16 bits would be far off.
  test "products of 16 bits are added in f32" do
    for options <- @modes, type <- [:f16, :bf16], transpose <- [true, false] do
      x = {2, 3, 2048} |> wave() |> Mlx.add(1) |> Mlx.as_type(type)
      shape = if transpose, do: {2, 8, 2048}, else: {2, 2048, 128}
      {weights, scales, biases} = shape |> wave(type) |> Mlx.add(0.5) |> Mlx.quantize(options) |> parts()
      [wide_scales, wide_biases] = for part <- [scales, biases], do: if(biases, do: Mlx.as_type(part, :f32), else: part)
      matrices = Mlx.dequantize(weights, wide_scales, wide_biases, options ++ [type: :f32]) |> Mlx.as_type(:f64)
      exact = Mlx.matmul(Mlx.as_type(x, :f64), if(transpose, do: Mlx.swap_axes(matrices, 1, 2), else: matrices))
      options = [transpose: transpose] ++ options

      product = Mlx.quantized_matmul(x, weights, scales, biases, options)
      assert product.type == type
      assert_rounded(product, exact)

      turned = Mlx.array([1, 0])
      product = Mlx.gather_qmm(x, weights, scales, biases, [left_indices: turned, right_indices: turned] ++ options)
      assert product.type == type
      assert_rounded(product, Mlx.take(exact, turned, axis: 0))
    end
  end

  test "indices of matrices count from the end below 0, and are clamped" do
    x = wave({3, 2, 64})
    {weights, scales, biases} = Mlx.quantize(wave({4, 8, 64}))
    product = &Mlx.gather_qmm(x, weights, scales, biases, left_indices: &1, right_indices: &2)
    assert_close(product.(Mlx.array([-1, -3]), Mlx.array([-4, 9])), product.(Mlx.array([2, 0]), Mlx.array([0, 3])))
  end

  # As near as the type can be, and f32 for numbers next to 0.
  defp assert_rounded(got, exact) do
    allowed = exact |> Mlx.abs() |> Mlx.multiply(if got.type == :f16, do: 2 ** -11, else: 2 ** -8) |> Mlx.add(1.0e-2)
    error = got |> Mlx.as_type(:f64) |> Mlx.subtract(exact) |> Mlx.abs()
    assert error |> Mlx.less_equal(allowed) |> Mlx.all() |> Mlx.to_number()
  end

  defp assert_close(got, expected) do
    assert got.shape == expected.shape
    assert Mlx.to_number(Mlx.all_close(got, expected, rtol: 5.0e-3, atol: 5.0e-3))
  end
end
