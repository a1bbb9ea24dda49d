defmodule Mlx.LM.RecurrentMixersTest do
  # A mixer gives the same for a text in one go, in parts, and position by position, also where a text has many chunks.
  use ExUnit.Case, async: true

  alias Mlx.LM.Decoder.{
    ChannelMixing,
    ConvolvedGate,
    DecayedAttention,
    DecayedSum,
    DeltaSum,
    FeatureDelta,
    GatedDelta,
    GatedRecurrence,
    HeadMamba,
    LinearScan,
    Mamba,
    Mamba2,
    RoPE,
    ShortConvolution,
    TimeMixing
  }

  @width 16
  @length 150

  @mixers [
    {ShortConvolution, width: @width, kernel: 3, bias: true},
    {ShortConvolution, width: @width, kernel: 1},
    {GatedDelta, width: @width, heads: 4, size: 8, key_heads: 2, key_size: 8, kernel: 4, eps: 1.0e-5, negative: true},
    {Mamba2, width: @width, heads: 4, size: 8, groups: 2, state: 4, kernel: 4, norm: 1.0e-5, norm_groups: 2},
    {Mamba2, width: @width, heads: 2, size: 4, groups: 2, state: 4, kernel: 2, times: {0.1, 0.5}, norm_first: true},
    {Mamba, width: @width, inner: 24, state: 4, rank: 3, kernel: 4, bias: true, norms: {:rms, 1.0e-5}},
    {HeadMamba, width: @width, heads: 4, size: 8, state: 4, rank: 3, kernel: 4, eps: 1.0e-5},
    {TimeMixing, width: @width, head_size: 4, decay_rank: 2, rate_rank: 3, value_rank: 2, gate_rank: 5, first: true},
    {ChannelMixing, width: @width, hidden: 24},
    {FeatureDelta, width: @width, heads: 2, size: 8, kernel: 4, eps: 1.0e-5},
    {FeatureDelta, width: @width, heads: 2, size: 4, kernel: 2, eps: 1.0e-5, whole: [:f, :g], bound: -5.0},
    {FeatureDelta, width: @width, heads: 2, size: 4, kernel: 2, eps: 1.0e-5, whole: [:g], joined: true},
    {ConvolvedGate,
     width: @width, heads: 4, key_value_heads: 2, head_size: 4, kernel: 3, norm: {:rms, 1.0e-5}, bias: true},
    {GatedRecurrence, width: @width, inner: 24, heads: 3, kernel: 4},
    {DecayedAttention,
     width: @width, heads: 3, head_size: 4, rope: RoPE.new(4), decays: [0.01, 0.3, 2.0], eps: 1.0e-5, norm_groups: 3}
  ]

  for {{module, _options}, index} <- Enum.with_index(@mixers) do
    test "#{inspect(module)} #{index} gives the same in one go, in parts and one by one" do
      {module, options} = Enum.at(@mixers, unquote(index))
      Mlx.Random.seed(unquote(index))
      mixer = options |> module.new() |> random()
      x = Mlx.Random.normal({2, @length, @width})
      {whole, caches} = read(mixer, [x])

      for parts <- [Mlx.split(x, [64, 65, 140], axis: 1), Mlx.split(x, @length, axis: 1)] do
        {outputs, others} = read(mixer, parts)
        assert distance(outputs, whole) < 1.0e-4
        assert others.length == @length

        for {a, b} <- Enum.zip(Tuple.to_list(others.state), Tuple.to_list(caches.state)), tuple_size(a.shape) > 0 do
          assert a.shape == b.shape
          assert elem(a.shape, 1) == 0 or distance(a, b) < 1.0e-4
        end
      end

      assert distance(whole, Mlx.zeros(whole.shape)) > 0.01
    end
  end

  test "the joined matrices of the gated delta rule give the same" do
    {GatedDelta, options} = Enum.at(@mixers, 2)
    mixer = random(GatedDelta.new(options))
    x = Mlx.Random.normal({1, 5, @width})
    {expected, _cache} = read(mixer, [x])
    Mlx.eval(expected)
    joined = GatedDelta.join(mixer)
    assert joined.in_proj_qkv == nil
    assert distance(elem(read(joined, [x]), 0), expected) < 1.0e-5
  end

  test "a scan is what its steps are, for every length" do
    for length <- [1, 2, 3, 5, 16, 17, 100] do
      factors = Mlx.Random.uniform({2, length, 3})
      added = Mlx.Random.normal({2, length, 3})
      state = Mlx.Random.normal({2, 3})
      {states, last} = LinearScan.call(factors, added, state)

      expected =
        [factors, added]
        |> Enum.map(&Mlx.split(&1, length, axis: 1))
        |> Enum.zip_with(&List.to_tuple/1)
        |> Enum.scan(Mlx.new_axis(state, 1), fn {factor, added}, state ->
          Mlx.add(Mlx.multiply(factor, state), added)
        end)
        |> Mlx.concatenate(axis: 1)

      assert distance(states, expected) < 1.0e-5
      assert distance(last, expected[[.., -1]]) < 1.0e-5
    end
  end

  test "a sum with decays stays exact where a chunk decays to nothing" do
    [queries, keys] = for _ <- 1..2, do: Mlx.Random.normal({1, 130, 1, 4})
    values = Mlx.Random.normal({1, 130, 2, 3})
    {outputs, _state} = DecayedSum.call(queries, keys, values, Mlx.full({1, 130, 2}, -50.0), nil)
    scores = queries |> Mlx.multiply(keys) |> Mlx.sum(axes: [-1], keep_axes: true)
    assert distance(outputs, Mlx.multiply(scores, values)) < 1.0e-5
  end

  test "the delta rule in chunks is Mlx.Fast's, also where all keys are alike" do
    for keys <- [Mlx.Random.normal({2, 150, 3, 8}), Mlx.ones({2, 150, 3, 8})], decay <- [0.0, -0.4, -30.0] do
      keys = keys |> Mlx.Fast.rms_norm(nil, eps: 1.0e-6) |> Mlx.multiply(1 / :math.sqrt(8))
      queries = Mlx.Random.normal({2, 150, 3, 8})
      values = Mlx.Random.normal({2, 150, 3, 5})
      beta = Mlx.sigmoid(Mlx.Random.normal({2, 150, 3, 1}))
      state = Mlx.Random.normal({2, 3, 5, 8})
      changes = {Mlx.multiply(keys, :math.exp(decay)), Mlx.negate(Mlx.multiply(keys, beta))}
      decays = Mlx.full({2, 150, 3, 1}, decay)
      {outputs, last} = DeltaSum.call(queries, Mlx.multiply(keys, beta), values, changes, decays, state)
      gates = Mlx.full({2, 150, 3}, :math.exp(decay))
      {expected, kept} = Mlx.Fast.gated_delta_update(queries, keys, values, gates, beta[[.., .., .., 0]], state: state)
      assert distance(outputs, expected) < 1.0e-4
      assert distance(last, kept) < 1.0e-4
    end
  end

  test "each feature may decay to nothing inside of a chunk" do
    for decay <- [0.0, -0.5, -40.0] do
      [queries, keys, values, beta] = for size <- [4, 4, 3, 1], do: Mlx.Random.normal({1, 40, 2, size})
      keys = Mlx.multiply(keys, 0.4)
      decays = Mlx.multiply(Mlx.Random.uniform({1, 40, 2, 4}), decay)
      changes = {Mlx.multiply(Mlx.exp(decays), keys), Mlx.negate(Mlx.multiply(Mlx.sigmoid(beta), keys))}
      state = Mlx.Random.normal({1, 2, 3, 4})
      {outputs, last} = DeltaSum.call(queries, keys, values, changes, decays, state, :unbounded)

      {single, end_state} =
        Enum.map_reduce(0..39, state, fn at, state ->
          [q, k, v, a, b, d] =
            for x <- [queries, keys, values | Tuple.to_list(changes)] ++ [decays], do: x[[.., at..at]]

          DeltaSum.call(q, k, v, {a, b}, d, state, :unbounded)
        end)

      assert distance(outputs, Mlx.concatenate(single, axis: 1)) < 1.0e-4
      assert distance(last, end_state) < 1.0e-4
    end
  end

  test "sizes that do not fit are refused" do
    assert_raise Mlx.Error, ~r/3 groups, which do not divide 4/, fn ->
      Mamba2.new(width: 8, heads: 4, size: 2, groups: 3, state: 4, kernel: 4)
    end

    assert_raise Mlx.Error, ~r/3 heads of 8 features/, fn ->
      GatedRecurrence.new(width: 8, inner: 8, heads: 3, kernel: 4)
    end
  end

  defp random(mixer) do
    Mlx.Tree.map(mixer, fn array -> Mlx.multiply(Mlx.Random.normal(array.shape), 0.5) end)
  end

  defp read(%module{} = mixer, parts) do
    {outputs, cache} =
      Enum.map_reduce(parts, module.cache(mixer), fn x, cache ->
        {y, cache, _step} = module.call(mixer, x, cache, %{})
        {y, Mlx.eval(cache)}
      end)

    {Mlx.concatenate(outputs, axis: 1), cache}
  end

  defp distance(a, b) do
    [most, scale] = for x <- [Mlx.subtract(a, b), b], do: x |> Mlx.abs() |> Mlx.reduce_max() |> Mlx.to_number()
    most / max(scale, 1.0)
  end
end
