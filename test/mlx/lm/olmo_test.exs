defmodule Mlx.LM.OlmoTest do
  # The two kinds of files that OLMo has hold the same model.
  use ExUnit.Case, async: true

  alias Mlx.LM.{Checkpoint, Decoder}
  alias Mlx.LM.Families.Fields

  @sizes %{"model_type" => "olmo", "rope_theta" => 5000.0, "clip_qkv" => 0.5}
  @first %{
    "d_model" => 32,
    "n_layers" => 2,
    "n_heads" => 4,
    "vocab_size" => 40,
    "embedding_size" => 40,
    "mlp_hidden_size" => 96
  }
  @later %{
    "hidden_size" => 32,
    "num_hidden_layers" => 2,
    "num_attention_heads" => 4,
    "vocab_size" => 40,
    "intermediate_size" => 48,
    "tie_word_embeddings" => false
  }

  defp random(rows, columns), do: Mlx.multiply(Mlx.Random.normal({rows, columns}), 0.3)

  defp later do
    for layer <- 0..1, into: %{"model.embed_tokens.weight" => random(40, 32), "lm_head.weight" => random(40, 32)} do
      {"#{layer}", for(_part <- 1..4, do: random(32, 32)) ++ [random(48, 32), random(48, 32), random(32, 48)]}
    end
    |> Enum.flat_map(fn
      {layer, [q, k, v, o, gate, up, down]} ->
        parts = [q_proj: q, k_proj: k, v_proj: v, o_proj: o]
        forward = [gate_proj: gate, up_proj: up, down_proj: down]

        for({name, array} <- parts, do: {"model.layers.#{layer}.self_attn.#{name}.weight", array}) ++
          for {name, array} <- forward, do: {"model.layers.#{layer}.mlp.#{name}.weight", array}

      pair ->
        [pair]
    end)
    |> Map.new()
  end

  defp first(later) do
    top = %{
      "model.transformer.wte.weight" => later["model.embed_tokens.weight"],
      "model.transformer.ff_out.weight" => later["lm_head.weight"]
    }

    for layer <- 0..1, reduce: top do
      tensors ->
        take = fn name -> later["model.layers.#{layer}.#{name}.weight"] end
        path = "model.transformer.blocks.#{layer}"

        Map.merge(tensors, %{
          "#{path}.att_proj.weight" => Mlx.concatenate(for part <- ~w(q k v), do: take.("self_attn.#{part}_proj")),
          "#{path}.attn_out.weight" => take.("self_attn.o_proj"),
          "#{path}.ff_proj.weight" => Mlx.concatenate([take.("mlp.up_proj"), take.("mlp.gate_proj")]),
          "#{path}.ff_out.weight" => take.("mlp.down_proj")
        })
    end
  end

  defp logits(tensors, config) do
    model = Checkpoint.from_tensors(tensors, Fields.new(Map.merge(@sizes, config)))
    {logits, _caches} = Decoder.logits(model, Mlx.array([[3, 1, 20, 7, 39]]), Decoder.caches(model))
    logits
  end

  test "both kinds of files give the same, with bounded queries, keys and values" do
    Mlx.Random.seed(3)
    tensors = later()
    expected = logits(tensors, @later)
    assert Mlx.to_number(Mlx.reduce_max(Mlx.abs(Mlx.subtract(logits(first(tensors), @first), expected)))) < 1.0e-5

    unbounded = logits(tensors, Map.put(@later, "clip_qkv", nil))
    assert Mlx.to_number(Mlx.reduce_max(Mlx.abs(Mlx.subtract(unbounded, expected)))) > 1.0e-3
  end
end
