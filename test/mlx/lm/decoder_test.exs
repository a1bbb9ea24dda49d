defmodule Mlx.LM.DecoderTest do
  use ExUnit.Case, async: true

  alias Mlx.{NN, Tree}
  alias Mlx.LM.{Cache, Context, Decoder, Decoding, KeyValueCache, RotatingCache, Sampler, StateCache}
  alias Mlx.LM.Decoder.{Attention, Config, Experts, GatedFeedForward, RoPE}

  doctest Mlx.LM.Cache
  doctest Mlx.LM.Decoder.RoPE
  doctest Mlx.LM.RotatingCache
  doctest Mlx.LM.StateCache

  defmodule Decay do
    @moduledoc false
    # A recurrence: state = decay * state + input, whose outputs are the states.

    @behaviour Mlx.LM.Decoder.Mixer

    defstruct [:in_proj, :decay]

    @impl true
    def new(options) do
      width = options[:width]
      %__MODULE__{in_proj: %NN.Linear{weight: Mlx.zeros({width, width}), bias: nil}, decay: Mlx.zeros({width})}
    end

    @impl true
    def cache(_mixer), do: StateCache.new()

    @impl true
    def call(%__MODULE__{in_proj: projection, decay: decay}, x, cache, step) do
      {batch, length, width} = x.shape
      {state} = cache.state || {Mlx.zeros({batch, width})}
      inputs = projection |> NN.Layer.call(x) |> Mlx.unstack(axis: 1)
      decay = Mlx.sigmoid(decay)

      {outputs, state} =
        Enum.map_reduce(inputs, state, fn input, state ->
          state = Mlx.add(Mlx.multiply(decay, state), input)
          {state, state}
        end)

      {Mlx.stack(outputs, axis: 1), StateCache.put(cache, {state}, length), Map.put(step, :last, length)}
    end
  end

  defmodule Positions do
    @moduledoc false
    # A mixer without a cache, which adds what an earlier one left in the step.

    @behaviour Mlx.LM.Decoder.Mixer

    defstruct []

    @impl true
    def new(_options), do: %__MODULE__{}

    @impl true
    def cache(_mixer), do: nil

    @impl true
    def call(_mixer, x, nil, %{last: length, ids: ids} = step) do
      {Mlx.add(Mlx.multiply(x, length * 0), Mlx.new_axis(Mlx.multiply(ids, 0.01), -1)), nil, step}
    end
  end

  @width 32

  defp attention(changes \\ []) do
    {Attention, Keyword.merge([width: @width, heads: 4, key_value_heads: 2, head_size: 8, rope: RoPE.new(8)], changes)}
  end

  defp config(mixers) do
    before = fn part -> [%{before: :norm, part: part}] end

    %Config{
      vocabulary: 50,
      width: @width,
      context_length: 64,
      norm: {:rms, 1.0e-5},
      blocks:
        for {name, mixer} <- mixers do
          {[before.(name), before.(:mlp)],
           [{name, mixer}, {:norm, {:norm, {:rms, 1.0e-5}}}, {:mlp, {GatedFeedForward, width: @width, hidden: 48}}]}
        end
    }
  end

  defp random(config) do
    decoder = Decoder.new(config)
    parts = Map.take(decoder, [:model, :lm_head])

    arrays =
      for {{path, array}, seed} <- Enum.with_index(Tree.flatten(parts)) do
        {path, Mlx.Random.normal(array.shape, scale: 0.3, key: Mlx.Random.key(seed))}
      end

    Map.merge(decoder, Tree.unflatten(arrays, parts))
  end

  @ids Enum.map(1..24, &rem(&1 * 7, 50))

  defp logits(decoder, parts) do
    {logits, caches} =
      Enum.reduce(parts, {nil, Decoder.caches(decoder)}, fn part, {_logits, caches} ->
        Decoder.call(decoder, Mlx.array([part]), caches)
      end)

    {logits, caches}
  end

  defp greedy(decoder, count) do
    {logits, caches} = logits(decoder, [@ids])

    {tokens, _state} =
      Enum.map_reduce(1..count, {logits, caches}, fn _step, {logits, caches} ->
        token = logits |> Mlx.argmax() |> Mlx.to_number()
        {token, Decoder.call(decoder, Mlx.array([[token]]), caches)}
      end)

    tokens
  end

  defp compiled(decoder, count) do
    decode = Decoding.compile(decoder)
    {logits, caches} = logits(decoder, [@ids])
    {token, sampler} = Sampler.sample(Sampler.new(temperature: 0), logits)

    {tokens, _state} =
      Enum.map_reduce(1..count, {token, sampler, caches}, fn _step, {token, sampler, caches} ->
        {Mlx.to_number(Mlx.squeeze(Mlx.eval(token))), Decoding.next(decode, token, sampler, caches)}
      end)

    tokens
  end

  defp distance(a, b), do: a |> Mlx.subtract(b) |> Mlx.abs() |> Mlx.reduce_max() |> Mlx.to_number()

  @mixers [
    plain: [self_attn: {:attention, []}],
    window: [self_attn: {:attention, [window: 6]}, again: {:attention, []}],
    sinks: [self_attn: {:attention, [sinks: true]}, again: {:attention, [sinks: true, window: 5]}],
    capped: [self_attn: {:attention, [soft_cap: 3.0, window: 7]}, again: {:attention, [soft_cap: 2.0]}],
    gated: [self_attn: {:attention, [gated: true, norm: {:rms, 1.0e-5}]}],
    recurrent: [mixer: {Decay, [width: @width]}, self_attn: {:attention, [window: 6]}],
    stateless: [mixer: {Decay, [width: @width]}, positions: {Positions, []}]
  ]

  for {name, mixers} <- @mixers do
    test "#{name}: at once, in parts, one by one, joined and compiled" do
      mixers =
        for {name, {module, options}} <- unquote(Macro.escape(mixers)) do
          {name, if(module == :attention, do: attention(options), else: {module, options})}
        end

      decoder = random(config(mixers))
      {whole, caches} = logits(decoder, [@ids])
      assert Enum.all?(caches, &(&1.length == 24))

      for parts <- [Enum.chunk_every(@ids, 1), Enum.chunk_every(@ids, 5), Enum.chunk_every(@ids, 11)] do
        assert distance(elem(logits(decoder, parts), 0), whole) < 1.0e-4
      end

      whole = Mlx.eval(whole)
      tokens = greedy(decoder, 12)
      fast = Decoder.for_inference(decoder)
      assert distance(elem(logits(fast, [@ids]), 0), whole) < 1.0e-4
      assert greedy(fast, 12) == tokens
      assert compiled(fast, 12) == tokens
    end
  end

  test "the ends of a model that ties them have one matrix on a CPU, unless layers stay where they are in files" do
    decoder = random(%{config(self_attn: attention()) | tied: true})
    tokens = Mlx.array([[3, 0, 7], [7, 1, 2]])
    vectors = Mlx.to_list(NN.Layer.call(decoder.model.embed_tokens, tokens))
    fast = Decoder.for_inference(decoder)
    assert Mlx.to_list(NN.Layer.call(fast.model.embed_tokens, tokens)) == vectors

    if Mlx.Device.default() == :cpu do
      assert fast.model.embed_tokens.matrix == fast.lm_head.matrix
    end

    apart = Decoder.for_inference(random(%{config(self_attn: attention()) | tied: true}), join: false)
    assert %NN.Embedding{} = apart.model.embed_tokens
  end

  test "a window is what a mask of a band says" do
    decoder = random(config(self_attn: attention()))
    windowed = random(config(self_attn: attention(window: 6)))
    # Within the window they are the same, and beyond it they are not.
    assert distance(elem(logits(decoder, [Enum.take(@ids, 6)]), 0), elem(logits(windowed, [Enum.take(@ids, 6)]), 0)) <
             1.0e-5

    assert distance(elem(logits(decoder, [@ids]), 0), elem(logits(windowed, [@ids]), 0)) > 1.0e-3
    changed = [1, 2, 3 | Enum.drop(@ids, 3)]
    assert distance(elem(logits(windowed, [changed]), 0), elem(logits(windowed, [@ids]), 0)) < 1.0e-5
  end

  describe "caches forget" do
    defp filled(cache, length) do
      part = Mlx.ones({1, 2, length, 4})
      {_keys, _values, _mask, cache} = cache.__struct__.update(cache, part, part)
      cache
    end

    test "a part, where all of them can" do
      caches = [filled(KeyValueCache.new(), 9), filled(RotatingCache.new(16), 9)]
      assert {[%{length: 4}, %{length: 4}], 4} = Cache.trim_all(caches, 4)
    end

    test "everything, where one left its window or is a state" do
      for other <- [filled(RotatingCache.new(8), 9), StateCache.put(StateCache.new(), {Mlx.ones({1})}, 9)] do
        caches = [filled(KeyValueCache.new(), 9), other]
        assert {[%{length: 9}, %{length: 9}], 9} = Cache.trim_all(caches, 9)
        assert {[%{length: 0}, %{length: 0}], 0} = Cache.trim_all(caches, 4)
      end
    end

    test "so that a context goes on from what it keeps" do
      decoder = random(config(mixer: {Decay, [width: @width]}, self_attn: attention(window: 6)))
      {_logits, caches} = logits(decoder, [@ids])
      context = %Context{ids: @ids, caches: caches}
      assert {%{ids: @ids}, [3]} = Context.reuse(context, @ids ++ [3])

      other = Enum.take(@ids, 20) ++ [9, 9]
      {%{ids: [], caches: caches}, ^other} = Context.reuse(context, other)
      {again, _caches} = Decoder.call(decoder, Mlx.array([other]), caches)
      assert distance(again, elem(logits(decoder, [other]), 0)) < 1.0e-5
    end

    test "a window and go on" do
      decoder = random(config(self_attn: attention(window: 16)))
      {_logits, caches} = logits(decoder, [Enum.take(@ids, 12)])
      {caches, 5} = Cache.trim_all(caches, 5)
      {again, _caches} = Decoder.call(decoder, Mlx.array([Enum.slice(@ids, 5, 7)]), caches)
      assert distance(again, elem(logits(decoder, [Enum.take(@ids, 12)]), 0)) < 1.0e-5
    end
  end

  describe "experts" do
    defp experts(options) do
      layer = Experts.new([width: 8, experts: 6, top: 2, hidden: 12] ++ options)

      arrays =
        for {{path, array}, seed} <- Enum.with_index(Tree.flatten(layer)) do
          {path, Mlx.Random.normal(array.shape, key: Mlx.Random.key(seed))}
        end

      Tree.unflatten(arrays, layer)
    end

    # Each expert by itself, on one token, with the scores given.
    defp by_hand(layer, x, scores) do
      for {score, index} <- Enum.with_index(scores), score != 0, reduce: Mlx.zeros({1, 1, 8}) do
        sum ->
          [gate, up, down] =
            for name <- [:gate_proj, :up_proj, :down_proj], do: Map.fetch!(layer.switch_mlp, name).weight[index]

          expert = %GatedFeedForward{
            gate_proj: %NN.Linear{weight: gate, bias: nil},
            up_proj: %NN.Linear{weight: up, bias: nil},
            down_proj: %NN.Linear{weight: down, bias: nil},
            activation: "silu"
          }

          Mlx.add(sum, Mlx.multiply(GatedFeedForward.call(expert, x), score))
      end
    end

    defp best(values, count) do
      kept = values |> Enum.with_index() |> Enum.sort(:desc) |> Enum.take(count) |> Enum.map(&elem(&1, 1))
      fn index -> index in kept end
    end

    defp x, do: Mlx.Random.normal({1, 1, 8}, key: Mlx.Random.key(99))

    test "with scores of a sigmoid, a bias for the choice, and groups" do
      layer = experts(scores: :sigmoid, normalize: true, scale: 2.5, correction: true, groups: {3, 1})
      scores = layer.gate |> NN.Linear.call(x()) |> Mlx.sigmoid() |> Mlx.flatten() |> Mlx.to_list()
      wanted = Enum.zip_with(scores, Mlx.to_list(layer.e_score_correction_bias), &+/2)
      worth = wanted |> Enum.chunk_every(2) |> Enum.map(&Enum.sum/1)
      group? = best(worth, 1)
      chosen = for {score, index} <- Enum.with_index(scores), do: if(group?.(div(index, 2)), do: score, else: 0)
      expected = by_hand(layer, x(), Enum.map(chosen, &(&1 / Enum.sum(chosen) * 2.5)))
      assert distance(Experts.call(layer, x()), expected) < 1.0e-4
    end

    test "with scores of a softmax, as they are" do
      layer = experts([])
      scores = layer.gate |> NN.Linear.call(x()) |> Mlx.softmax(axes: -1) |> Mlx.flatten() |> Mlx.to_list()
      kept? = best(scores, 2)
      chosen = for {score, index} <- Enum.with_index(scores), do: if(kept?.(index), do: score, else: 0)
      assert distance(Experts.call(layer, x()), by_hand(layer, x(), chosen)) < 1.0e-4
    end

    test "give the same for many tokens, which are sorted, and for few" do
      layer = experts([])
      many = Mlx.Random.normal({2, 40, 8}, key: Mlx.Random.key(5))
      few = Mlx.slice(many, [1, 3, 0], [1, 5, 8])
      assert distance(Mlx.slice(Experts.call(layer, many), [1, 3, 0], [1, 5, 8]), Experts.call(layer, few)) < 1.0e-4
    end
  end

  test "refuses what it does not know" do
    assert_raise ArgumentError, ~r/unknown option :head/, fn -> Attention.new(width: 8, head: 2) end
    decoder = random(config(self_attn: attention()))
    assert_raise ArgumentError, ~r/expected :form to be/, fn -> Decoder.for_inference(decoder, form: :packed) end
  end
end
