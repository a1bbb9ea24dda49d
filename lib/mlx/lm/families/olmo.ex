defmodule Mlx.LM.Families.Olmo do
  @moduledoc false
  # Normalisations of mean and variance that have no weights, and a bound of queries, keys and values. Files are of two
  # kinds: with the names of Hugging Face's class, or of the first one, whose matrices of q, k and v are one, and in whose
  # matrix of both factors the gate comes last.

  use Mlx.LM.Family

  alias Mlx.LM.Families.{Fields, Plain, Rope, Tensors}

  @first %{
    "d_model" => "hidden_size",
    "n_layers" => "num_hidden_layers",
    "n_heads" => "num_attention_heads",
    "embedding_size" => "vocab_size",
    "weight_tying" => "tie_word_embeddings",
    "max_sequence_length" => "max_position_embeddings"
  }

  @impl true
  def config(fields) do
    first? = Fields.has?(fields, "d_model")
    fields = if first?, do: renamed(fields), else: fields

    Plain.config(fields,
      norm: {:layer_without_weight, 1.0e-5},
      attention: [
        joined: first?,
        bias: false,
        output_bias: false,
        clip: Fields.positive(fields, "clip_qkv", nil),
        rope: Rope.read(fields, Plain.head_size(fields), scaling: not first?)
      ],
      feed_forward: [bias: false]
    )
  end

  defp renamed(fields) do
    width = Fields.size(fields, "d_model")
    both = Fields.size(fields, "mlp_hidden_size", width * Fields.size(fields, "mlp_ratio", 4))
    named = for {theirs, ours} <- @first, Fields.has?(fields, theirs), into: %{}, do: {ours, fields.map[theirs]}
    tied = %{"tie_word_embeddings" => false, "intermediate_size" => div(both, 2)}
    %{fields | map: fields.map |> Map.merge(tied) |> Map.merge(named)}
  end

  @impl true
  def names do
    [
      {"model.transformer.wte", "model.embed_tokens"},
      {"model.transformer.blocks", "model.layers"},
      {"model.transformer.ff_out", "lm_head"},
      {"att_proj", "self_attn.qkv_proj"},
      {"attn_out", "self_attn.o_proj"},
      {"ff_proj", "mlp.ff_proj"},
      {"ff_out", "mlp.down_proj"}
    ]
  end

  @impl true
  def tensors(tensors, _fields) do
    Tensors.replace(tensors, ~r/\.mlp\.ff_proj\./, fn name, array ->
      [up, gate] = Mlx.split(array, 2)
      for {part, rows} <- [gate: gate, up: up], do: {String.replace(name, "ff_proj", "#{part}_proj"), rows}
    end)
  end

  @impl true
  def joints do
    [{"mlp.ff_proj", ["mlp.up_proj", "mlp.gate_proj"], fn parts, _fields -> Mlx.concatenate(parts) end}]
  end
end
