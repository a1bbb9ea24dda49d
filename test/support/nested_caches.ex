defmodule Mlx.NestedCaches do
  @moduledoc "Small models of random weights whose caches hold others."

  alias Mlx.LM.{Decoder, Families}
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

  @doc "Their types."
  def types, do: Map.keys(@models)

  @doc "The model of a type. It knows 40 tokens."
  def model(type) do
    fields = Fields.new(@base |> Map.merge(@models[type]) |> Map.put("model_type", type))
    {family, fields} = Families.find(fields)
    decoder = Decoder.new(family.config(fields))
    parts = Map.take(decoder, [:model, :lm_head])
    Map.merge(decoder, Mlx.Tree.map(parts, &Mlx.multiply(Mlx.Random.normal(&1.shape), 0.3)))
  end
end
