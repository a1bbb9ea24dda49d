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
