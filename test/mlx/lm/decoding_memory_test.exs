defmodule Mlx.LM.DecodingMemoryTest do
  # A token leaves nothing behind but its keys and values, whatever the caches are. Nothing else computes meanwhile.
  use ExUnit.Case, async: false

  alias Mlx.LM.{Cache, Decoder, Decoding, Families, KeyValueCache, QuantizedCache, RotatingCache, Sampler, StateCache}
  alias Mlx.Memory

  @tokens 1000
  @warm 300
  # Buffers of keys and values are made larger at 769 positions for the last time.
  @late 800
  @prompt 20

  @base %{
    "hidden_size" => 32,
    "num_hidden_layers" => 2,
    "intermediate_size" => 64,
    "num_attention_heads" => 4,
    "num_key_value_heads" => 2,
    "head_dim" => 32,
    "rms_norm_eps" => 1.0e-5,
    "vocab_size" => 64,
    "max_position_embeddings" => 4096,
    "rope_theta" => 10_000.0,
    "tie_word_embeddings" => true
  }

  @windows %{"sliding_window" => 64, "sliding_window_pattern" => 2, "query_pre_attn_scalar" => 32}
  @mamba %{
    "state_size" => 8,
    "conv_kernel" => 4,
    "use_bias" => false,
    "use_conv_bias" => true,
    "time_step_rank" => 4,
    "intermediate_size" => 64
  }
  @convolutions %{
    "norm_eps" => 1.0e-5,
    "conv_bias" => false,
    "conv_L_cache" => 3,
    "block_dim" => 32,
    "block_multiple_of" => 32,
    "block_ffn_dim_multiplier" => 1.0,
    "block_auto_adjust_ff_dim" => true,
    "block_ff_dim" => 64,
    "layer_types" => ["conv", "full_attention"],
    "head_dim" => nil
  }

  # The type, what is different from the base, what becomes of the caches, and the kinds that they then have.
  @cases [
    {"qwen3", %{}, :same, [KeyValueCache]},
    {"qwen3", %{}, :quantized, [QuantizedCache]},
    {"gemma3_text", @windows, :same, [KeyValueCache, RotatingCache]},
    {"mamba", @mamba, :same, [StateCache]},
    {"lfm2", @convolutions, :same, [KeyValueCache, StateCache]}
  ]

  defp model(type, different) do
    fields = @base |> Map.merge(different) |> Map.reject(&match?({_key, nil}, &1)) |> Map.put("model_type", type)
    {family, fields} = fields |> Families.Fields.new() |> Families.find()
    decoder = fields |> family.config() |> Decoder.new()
    random = fn %Mlx.Array{shape: shape} -> Mlx.multiply(Mlx.Random.normal(shape, key: Mlx.Random.key(1)), 0.1) end
    decoder |> Mlx.Tree.map(random) |> Decoder.for_inference()
  end

  defp prepared(caches, :same), do: caches

  defp prepared(caches, :quantized) do
    Mlx.eval(Enum.map(caches, &QuantizedCache.from_cache(&1, group_size: 32, bits: 4)))
  end

  defp next(decode, {token, sampler, caches}) do
    {token, sampler, caches} = Decoding.next(decode, token, sampler, caches)
    {Mlx.eval(token), sampler, Mlx.eval(caches)}
  end

  defp after_tokens(count, decode, state) do
    Enum.reduce(1..count//1, state, fn _token, state -> next(decode, state) end)
  end

  # The bytes that are alive after so many tokens without those of the caches, and the most that were since some before.
  defp memory(from, to, decode, state) do
    state = after_tokens(from, decode, state)
    settle()
    Memory.reset_peak()
    state = after_tokens(to - from, decode, state)
    peak = Memory.peak()
    settle()
    {_token, _sampler, caches} = state
    held = caches |> Enum.map(&Cache.buffers/1) |> Mlx.Tree.arrays() |> Enum.map(&Mlx.byte_size/1) |> Enum.sum()
    {%{left: Memory.active() - held, peak: peak - held}, state}
  end

  # Garbage is freed beside this process.
  defp settle(same \\ 0, former \\ nil) do
    :erlang.garbage_collect()
    Mlx.Stream.synchronize()
    active = Memory.active()
    Process.sleep(20)
    if same < 4, do: settle(if(active == former, do: same + 1, else: 0), active)
  end

  setup do
    # MLX may use a free buffer again that is larger than what is asked for, and counts all of it.
    limit = Memory.set_cache_limit(0)
    on_exit(fn -> Memory.set_cache_limit(limit) end)
  end

  for {type, different, caches, kinds} <- @cases do
    @tag timeout: 300_000
    @different different
    test "#{@tokens} tokens of #{type} leave nothing behind but what is in the caches: #{inspect(kinds)}" do
      model = model(unquote(type), @different)
      ids = Mlx.reshape(Mlx.arange(0, @prompt, type: :s32), {1, @prompt})
      {logits, caches} = Decoder.call(model, ids, Decoder.caches(model))
      {token, sampler} = Sampler.sample(Sampler.new(), logits)
      caches = caches |> Mlx.eval() |> prepared(unquote(caches))
      assert caches |> Enum.map(& &1.__struct__) |> Enum.uniq() |> Enum.sort() == unquote(kinds)
      decode = Decoding.compile(model, caches)
      # What is used no more is held all the same.
      start_supervised!({Agent, fn -> {model, decode} end})

      {early, state} = memory(@warm - 20, @warm, decode, {Mlx.eval(token), sampler, caches})
      {late, state} = memory(@late - @warm - 20, @late - @warm, decode, state)
      {last, {_token, _sampler, [cache | _caches]}} = memory(0, @tokens - @late, decode, state)

      assert cache.length == @prompt + @tokens
      # Not a byte for each token.
      assert_in_delta last.left, late.left, 100
      # The step is compiled for each size of the buffers, with masks of that size.
      assert late.left < early.left + 40_000
      # Attention has scores of as many positions as there are. One of the buffers has four times as many bytes.
      assert late.peak < early.peak + 50_000
      assert last.peak < late.peak + 50_000
    end
  end
end
