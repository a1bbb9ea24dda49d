defmodule Mlx.LM.NestedCachesTest do
  # Caches that hold others: in the compiled step, in contexts, and cut back.
  use ExUnit.Case, async: true

  alias Mlx.LM.{Cache, CachePair, CompressedCache, Context, ContextFile, Decoder, Decoding, Families, Sampler}
  alias Mlx.LM.Families.Fields

  @base %{
    "hidden_size" => 32,
    "num_hidden_layers" => 2,
    "num_attention_heads" => 4,
    "num_key_value_heads" => 2,
    "vocab_size" => 40,
    "rms_norm_eps" => 1.0e-5,
    "sliding_window" => 8
  }

  @models %{
    "baichuan_m1" => %{"intermediate_size" => 48, "sliding_window_layers" => [1]},
    "minimax_m3" => %{
      "head_dim" => 8,
      "intermediate_size" => 16,
      "dense_intermediate_size" => 48,
      "shared_intermediate_size" => 16,
      "num_local_experts" => 4,
      "num_experts_per_tok" => 2,
      "index_n_heads" => 2,
      "index_head_dim" => 8,
      "index_block_size" => 4,
      "index_topk_blocks" => 2
    },
    "deepseek_v4" => %{
      "head_dim" => 16,
      "qk_rope_head_dim" => 4,
      "q_lora_rank" => 16,
      "o_groups" => 2,
      "o_lora_rank" => 8,
      "moe_intermediate_size" => 16,
      "n_routed_experts" => 4,
      "num_experts_per_tok" => 2,
      "num_hash_layers" => 0,
      "index_n_heads" => 8,
      "index_head_dim" => 8,
      "index_topk" => 2,
      "hc_mult" => 2,
      "compress_ratios" => [4, 6],
      "compress_rate_hca" => 6
    }
  }

  defp model(type) do
    fields = Fields.new(@base |> Map.merge(@models[type]) |> Map.put("model_type", type))
    {family, fields} = Families.find(fields)
    decoder = Decoder.new(family.config(fields))
    parts = Map.take(decoder, [:model, :lm_head])
    Map.merge(decoder, Mlx.Tree.map(parts, &Mlx.multiply(Mlx.Random.normal(&1.shape), 0.3)))
  end

  defp read(model, ids), do: Decoder.call(model, Mlx.array([ids]), Decoder.caches(model))

  # The tokens after a prompt by the step that is compiled for these caches.
  defp written(model, logits, caches) do
    {first, sampler} = Sampler.sample(Sampler.new(temperature: 0), logits)
    decode = Decoding.compile(model, caches)

    {tokens, _state} =
      Enum.map_reduce(1..20, {first, sampler, caches}, fn _step, {token, sampler, caches} ->
        Mlx.eval([token, caches])
        {Mlx.to_number(Mlx.squeeze(token)), Decoding.next(decode, token, sampler, caches)}
      end)

    tokens
  end

  defp copy(%Mlx.Array{shape: shape, type: type} = array), do: Mlx.from_binary(Mlx.to_binary(array), shape, type)

  for type <- Map.keys(@models) do
    test "#{type} writes the same with caches of a context, which is saved" do
      Mlx.Random.seed(7)
      model = model(unquote(type))
      ids = for at <- 0..12, do: rem(at * 7, 40)
      {logits, caches} = read(model, ids)
      Mlx.eval([logits, caches])

      {arrays, metadata} = ContextFile.content(%Context{ids: ids, caches: caches}, model)
      arrays = Map.new(arrays, fn {name, array} -> {name, copy(array)} end)
      context = ContextFile.context({arrays, metadata}, model, "the context")
      tokens = written(model, logits, caches)
      assert written(model, logits, context.caches) == tokens

      # Without a compiled step, and each token with all before it.
      expected =
        Enum.map_reduce(1..20, ids, fn _step, ids ->
          {logits, _caches} = read(model, ids)
          token = logits |> Mlx.argmax(axis: -1) |> Mlx.squeeze() |> Mlx.to_number()
          {token, ids ++ [token]}
        end)

      assert tokens == elem(expected, 0)

      assert Enum.any?(caches, &(is_struct(&1, CachePair) or is_struct(&1, CompressedCache)))
      {empty, 0} = Cache.trim_all(caches, 0)
      assert Enum.map(empty, & &1.length) == [0, 0]
    end
  end

  test "each array of a context for such caches is checked" do
    for type <- Map.keys(@models) do
      model = model(type)
      {_logits, caches} = read(model, [1, 2, 3, 4, 5])
      {arrays, metadata} = ContextFile.content(%Context{ids: [1, 2, 3, 4, 5], caches: caches}, model)
      arrays = Map.new(arrays, fn {name, array} -> {name, copy(array)} end)

      for {"caches." <> _ = name, array} <- arrays, wrong <- wrong(array) do
        read = fn -> ContextFile.context({%{arrays | name => wrong}, metadata}, model, "the context") end
        assert {type, name, wrong.shape, refused?(read)} == {type, name, wrong.shape, true}
      end
    end
  end

  defp wrong(%Mlx.Array{shape: shape}) do
    larger = for axis <- [0, tuple_size(shape) - 1], do: Mlx.zeros(put_elem(shape, axis, elem(shape, axis) + 1))
    [Mlx.zeros({2}), Mlx.zeros(shape, type: :s32) | larger]
  end

  defp refused?(fun) do
    fun.()
    false
  rescue
    error in Mlx.Error -> error.message =~ "do not fit"
  end
end
