defmodule Mlx.FastTest do
  use ExUnit.Case, async: true

  import Mlx.Oracle

  doctest Mlx.Fast

  @moduletag :oracle

  defp wave(shape, type \\ :f32) do
    Mlx.arange(Tuple.product(shape), type: :f32) |> Mlx.sin() |> Mlx.reshape(shape) |> Mlx.as_type(type)
  end

  test "normalisation" do
    for type <- [:f32, :f16, :bf16] do
      x = wave({2, 3, 8}, type)
      w = wave({8}, type)
      assert_oracle(Mlx.Fast.rms_norm(x, w), "mx.fast.rms_norm(x, w, 1e-5)", x: x, w: w)
      assert_oracle(Mlx.Fast.rms_norm(x, nil, eps: 0.1), "mx.fast.rms_norm(x, None, 0.1)", x: x)
      assert_oracle(Mlx.Fast.layer_norm(x, w, w), "mx.fast.layer_norm(x, w, w, 1e-5)", x: x, w: w)
      assert_oracle(Mlx.Fast.layer_norm(x, nil, nil), "mx.fast.layer_norm(x, None, None, 1e-5)", x: x)
    end

    assert_raise Mlx.Error, fn -> Mlx.Fast.rms_norm(wave({2, 8}), wave({7})) end
  end

  test "rope" do
    x = wave({2, 3, 5, 8})
    defaults = "traditional=False, base=10000, scale=1, offset=0"
    assert_oracle(Mlx.Fast.rope(x, 8), "mx.fast.rope(x, 8, #{defaults})", x: x)

    options = [traditional: true, base: 100, scale: 0.5, offset: 7]
    python = "mx.fast.rope(x, 4, traditional=True, base=100, scale=0.5, offset=7)"
    assert_oracle(Mlx.Fast.rope(x, 4, options), python, x: x)

    freqs = Mlx.array([1.0, 10.0, 100.0, 1000.0])
    python = "mx.fast.rope(x, 8, traditional=False, base=None, scale=1, offset=3, freqs=f)"
    assert_oracle(Mlx.Fast.rope(x, 8, freqs: freqs, offset: 3), python, x: x, f: freqs)

    offsets = Mlx.array([2, 9])
    python = "mx.fast.rope(x, 8, traditional=False, base=10000, scale=1, offset=o)"
    assert_oracle(Mlx.Fast.rope(x, 8, offset: offsets), python, x: x, o: offsets)
  end

  describe "numbers of f64 have all digits" do
    setup {Mlx.OnCPU, :choose}

    @row [0.1, -0.7, 2.3, 0.4]
    @weight [1.5, -0.25, 0.3, 2.0]
    @bias [0.1, 0.2, 0.3, 0.4]

    test "when they are normalised" do
      [x, weight, bias] = for list <- [@row, @weight, @bias], do: Mlx.array(list, type: :f64)
      size = fn row -> :math.sqrt(Enum.sum_by(row, &(&1 * &1)) / 4 + 1.0e-5) end
      expected = for {x, w} <- Enum.zip(@row, @weight), do: x / size.(@row) * w
      assert_close(Mlx.Fast.rms_norm(x, weight), expected)
      assert_close(Mlx.Fast.rms_norm(x, nil, eps: 0.25), for(x <- @row, do: x / :math.sqrt(1.4875 + 0.25)))

      mean = Enum.sum(@row) / 4
      centred = for x <- @row, do: x - mean
      normal = for x <- centred, do: x / size.(centred)
      assert_close(Mlx.Fast.layer_norm(x, nil, nil), normal)
      expected = for {x, {w, b}} <- Enum.zip(normal, Enum.zip(@weight, @bias)), do: x * w + b
      assert_close(Mlx.Fast.layer_norm(x, weight, bias), expected)
      single = Mlx.as_type(x, :f32)

      assert_close(
        Mlx.Fast.layer_norm(single, weight, bias),
        Mlx.to_list(Mlx.Fast.layer_norm(Mlx.as_type(single, :f64), weight, bias))
      )

      assert_raise Mlx.Error, ~r/^Mlx.Fast.rms_norm: /, fn -> Mlx.Fast.rms_norm(x, bias[0..1]) end
    end

    test "when they are rotated" do
      x = Mlx.Random.normal({2, 3, 5, 8}, key: Mlx.Random.key(1)) |> Mlx.as_type(:f64)
      freqs = Mlx.array([1.0, 10.0, 100.0], type: :f64)

      for traditional <- [true, false],
          {options, starts, frequencies} <- [
            {[], [0, 0], for(i <- 0..2, do: 10_000 ** (-i / 3))},
            {[base: 500.0, offset: 7], [7, 7], for(i <- 0..2, do: 500 ** (-i / 3))},
            {[freqs: freqs, offset: Mlx.array(3), scale: 0.5], [3, 3], [1.0, 0.1, 0.01]},
            {[freqs: freqs, offset: Mlx.array([2, 90])], [2, 90], [1.0, 0.1, 0.01]}
          ] do
        expected =
          for {heads, start} <- Enum.zip(Mlx.to_list(x), starts), rows <- heads, {row, t} <- Enum.with_index(rows) do
            angles = for frequency <- frequencies, do: (start + t) * (options[:scale] || 1) * frequency
            rotated(row, angles, traditional)
          end

        got = Mlx.Fast.rope(x, 6, [traditional: traditional] ++ options)
        assert got.shape == {2, 3, 5, 8}
        assert_close(Mlx.flatten(got), List.flatten(expected))
      end

      assert_close(Mlx.flatten(Mlx.Fast.rope(x, 8)), Mlx.to_flat_list(Mlx.vmap(&Mlx.Fast.rope(&1, 8)).(x)))
    end

    test "when they attend" do
      [q, k, v] =
        for {shape, seed} <- [{{2, 4, 3, 8}, 1}, {{2, 2, 5, 8}, 2}, {{2, 2, 5, 6}, 3}] do
          Mlx.Random.normal(shape, key: Mlx.Random.key(seed)) |> Mlx.as_type(:f64)
        end

      allowed =
        Mlx.array([[true, true, false, true, false], [true, true, true, true, true], [false, true, true, true, true]])

      added = Mlx.Random.normal({4, 3, 5}, key: Mlx.Random.key(4)) |> Mlx.as_type(:f64)

      for {options, mask} <- [
            {[], fn _h, _i, _j -> 0.0 end},
            {[scale: 0.3, mask: :causal], fn _h, i, j -> if(j <= i + 2, do: 0.0, else: -1.0e9) end},
            {[mask: allowed], fn _h, i, j -> if(Mlx.to_number(allowed[[i, j]]), do: 0.0, else: -1.0e9) end},
            {[mask: added], fn h, i, j -> Mlx.to_number(added[[h, i, j]]) end}
          ],
          sinks <- [nil, [0.5, -1.0, 2.0, 0.0]] do
        [queries, keys, values] = for array <- [q, k, v], do: Mlx.to_list(array)
        scale = options[:scale] || 1 / :math.sqrt(8)

        expected =
          for {heads, b} <- Enum.with_index(queries),
              {rows, h} <- Enum.with_index(heads),
              {row, i} <- Enum.with_index(rows) do
            [keys, values] = for all <- [keys, values], do: all |> Enum.at(b) |> Enum.at(div(h, 2))
            scores = for {key, j} <- Enum.with_index(keys), do: scale * dot(row, key) + mask.(h, i, j)
            exponentials = Enum.map(scores, &:math.exp/1)
            sum = Enum.sum(exponentials) + if(sinks, do: :math.exp(Enum.at(sinks, h)), else: 0)
            for column <- Enum.zip_with(values, & &1), do: dot(exponentials, column) / sum
          end

        sinks = sinks && Mlx.array(sinks, type: :f64)
        got = Mlx.Fast.scaled_dot_product_attention(q, k, v, [sinks: sinks] ++ options)
        assert got.shape == {2, 4, 3, 6}
        assert_close(Mlx.flatten(got), List.flatten(expected))
      end
    end

    defp dot(a, b), do: Enum.zip_with(a, b, &(&1 * &2)) |> Enum.sum()

    defp rotated(row, angles, traditional) do
      {pairs, rest} = Enum.split(row, 6)
      pairs = if traditional, do: Enum.chunk_every(pairs, 2), else: pairs |> Enum.chunk_every(3) |> Enum.zip_with(& &1)

      turned =
        for {[a, b], angle} <- Enum.zip(pairs, angles) do
          [a * :math.cos(angle) - b * :math.sin(angle), a * :math.sin(angle) + b * :math.cos(angle)]
        end

      [if(traditional, do: turned, else: Enum.zip_with(turned, & &1)), rest]
    end

    defp assert_close(array, expected) do
      assert array.type == :f64
      for {got, exact} <- Enum.zip(Mlx.to_list(array), expected), do: assert_in_delta(got, exact, 1.0e-14)
    end
  end

  test "attention" do
    q = wave({2, 4, 3, 8})
    k = wave({2, 2, 5, 8})
    call = &"mx.fast.scaled_dot_product_attention(q, k, k, #{&1})"
    attention = &Mlx.Fast.scaled_dot_product_attention(q, k, k, &1)
    assert_oracle(attention.([]), call.("scale=8**-0.5"), q: q, k: k)
    assert_oracle(attention.(scale: 0.1, mask: :causal), call.("scale=0.1, mask='causal'"), q: q, k: k)

    mask = Mlx.greater(wave({3, 5}), 0)
    assert_oracle(attention.(mask: mask), call.("scale=8**-0.5, mask=m"), q: q, k: k, m: mask)

    bias = wave({3, 5})
    assert_oracle(attention.(mask: bias), call.("scale=8**-0.5, mask=m"), q: q, k: k, m: bias)

    sinks = wave({4})
    assert_oracle(attention.(sinks: sinks), call.("scale=8**-0.5, sinks=s"), q: q, k: k, s: sinks)

    none = Mlx.zeros({2, 0, 5, 8})
    assert_raise ArgumentError, ~r/no heads/, fn -> Mlx.Fast.scaled_dot_product_attention(q, none, none) end
    assert_raise ArgumentError, ~r/:mask to be :causal/, fn -> attention.(mask: "causal") end
    assert_raise Mlx.Error, fn -> Mlx.Fast.scaled_dot_product_attention(wave({2, 2}), k, k) end
  end

  test "cross entropy" do
    logits = wave({2, 3, 7})
    targets = Mlx.array([[0, 6, 3], [1, 2, 5]])
    assert_oracle(Mlx.Fast.cross_entropy(logits, targets), "mx.fast.cross_entropy(x, t)", x: logits, t: targets)
    assert_raise Mlx.Error, fn -> Mlx.Fast.cross_entropy(logits, Mlx.array([0, 1])) end
  end
end
