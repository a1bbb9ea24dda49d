defmodule Mlx.LM.GGUFArchitecture do
  @moduledoc false
  # The architectures of GGUF files: which family each is, and what its metadata and its tensors are called.
  #
  # Keys of a row:
  #
  #     type     of the model in config.json, see `Mlx.LM.Families`
  #     keys     of the metadata beside the common ones, without the name of the architecture in front
  #     fields   of config.json that have no key
  #     names    of tensors that differ from the common ones
  #     pairs    :neighbours where neighbouring features of a head rotate together: the rows of q and k are in that order
  #     rotated  :some where a part of each head rotates; otherwise all of it
  #     norms    :whole where 1 was added to the weights of normalisations that config.json counts from 1
  #     windows  n, where each nth layer sees everything, and all others have a window
  #     scaled   the number of layers of the one size whose scores are scaled by the width of a head, and not by its features
  #     type_of  numbers on a GPU, where those of the model leave the range of :f16
  #     experts  the row of files of this architecture that have experts

  @common [
    {"embedding_length", "hidden_size", :size},
    {"block_count", "num_hidden_layers", :layers},
    {"context_length", "max_position_embeddings", :size},
    {"attention.head_count", "num_attention_heads", :size},
    {"attention.head_count_kv", "num_key_value_heads", {:size, nil}},
    {"attention.layer_norm_rms_epsilon", "rms_norm_eps", :positive},
    {"rope.freq_base", "rope_theta", {:positive, 10_000.0}}
  ]

  @dense [{"feed_forward_length", "intermediate_size", :size}]
  @window [{"attention.sliding_window", "sliding_window", :size}]
  @caps [
    {"attn_logit_softcapping", "attn_logit_softcapping", {:positive, 50.0}},
    {"final_logit_softcapping", "final_logit_softcapping", {:positive, 30.0}}
  ]
  @experts [
    {"expert_count", "num_experts", :size},
    {"expert_used_count", "num_experts_per_tok", :size},
    {"expert_feed_forward_length", "moe_intermediate_size", :size}
  ]

  @names [
    {"token_embd", "model.embed_tokens"},
    {"output_norm", "model.norm"},
    {"output", "lm_head"},
    {"blk", "model.layers"},
    {"attn_norm", "input_layernorm"},
    {"ffn_norm", "post_attention_layernorm"},
    {"attn_q", "self_attn.q_proj"},
    {"attn_k", "self_attn.k_proj"},
    {"attn_v", "self_attn.v_proj"},
    {"attn_qkv", "self_attn.qkv_proj"},
    {"attn_output", "self_attn.o_proj"},
    {"attn_q_norm", "self_attn.q_norm"},
    {"attn_k_norm", "self_attn.k_norm"},
    {"attn_sinks.weight", "self_attn.sinks"},
    {"ffn_gate", "mlp.gate_proj"},
    {"ffn_up", "mlp.up_proj"},
    {"ffn_down", "mlp.down_proj"},
    {"ffn_gate_inp", "mlp.gate"},
    {"ffn_gate_exps", "mlp.switch_mlp.gate_proj"},
    {"ffn_up_exps", "mlp.switch_mlp.up_proj"},
    {"ffn_down_exps", "mlp.switch_mlp.down_proj"},
    {"ffn_gate_inp_shexp", "mlp.shared_expert_gate"},
    {"ffn_gate_shexp", "mlp.shared_expert.gate_proj"},
    {"ffn_up_shexp", "mlp.shared_expert.up_proj"},
    {"ffn_down_shexp", "mlp.shared_expert.down_proj"}
  ]

  @sandwich [
    {"post_attention_norm", "post_attention_layernorm"},
    {"ffn_norm", "pre_feedforward_layernorm"},
    {"post_ffw_norm", "post_feedforward_layernorm"}
  ]
  @joined [{"ffn_up", "mlp.gate_up_proj"}]

  @rows %{
    "llama" => %{
      type: "llama",
      keys: @dense,
      pairs: :neighbours,
      experts: %{
        type: "mixtral",
        keys: [
          {"expert_count", "num_local_experts", :size},
          {"expert_used_count", "num_experts_per_tok", :size} | @dense
        ],
        pairs: :neighbours
      }
    },
    "qwen2" => %{type: "qwen2", keys: @dense},
    "qwen2moe" => %{
      type: "qwen2_moe",
      keys: [
        {"expert_shared_feed_forward_length", "shared_expert_intermediate_size", :size} | @experts ++ @dense
      ]
    },
    "qwen3" => %{type: "qwen3", keys: @dense},
    "qwen3moe" => %{type: "qwen3_moe", keys: @experts, fields: %{"norm_topk_prob" => true}},
    "gemma" => %{type: "gemma", keys: @dense, norms: :whole, type_of: :bf16},
    "gemma2" => %{
      type: "gemma2",
      keys: [{"attention.sliding_window", "sliding_window", {:size, 4096}} | @dense ++ @caps],
      names: @sandwich,
      norms: :whole,
      windows: 2,
      scaled: 46,
      type_of: :bf16
    },
    "gemma3" => %{
      type: "gemma3_text",
      keys: [
        {"rope.freq_base_swa", "rope_local_base_freq", {:positive, nil}},
        {"final_logit_softcapping", "final_logit_softcapping", {:positive, nil}} | @dense ++ @window
      ],
      names: @sandwich,
      norms: :whole,
      windows: 6,
      scaled: 62,
      type_of: :bf16
    },
    "phi3" => %{type: "phi3", keys: @dense, names: @joined, rotated: :some},
    "gpt-oss" => %{
      type: "gpt_oss",
      keys: [
        {"expert_count", "num_local_experts", :size},
        {"expert_used_count", "num_experts_per_tok", :size},
        {"expert_feed_forward_length", "intermediate_size", :size} | @window
      ],
      names: [{"post_attention_norm", "post_attention_layernorm"}],
      windows: 2,
      type_of: :bf16
    },
    "glm4" => %{type: "glm4", keys: @dense, names: @sandwich ++ @joined, pairs: :neighbours, rotated: :some}
  }

  @type key :: {String.t(), String.t(), atom() | {atom(), term()}}
  @type t :: %{
          type: String.t(),
          keys: [key()],
          fields: %{String.t() => term()},
          names: [{String.t(), String.t()}],
          pairs: :neighbours | nil,
          rotated: :some | nil,
          norms: :whole | nil,
          windows: pos_integer() | nil,
          scaled: pos_integer() | nil,
          type_of: Mlx.Type.t()
        }

  @doc "The names of all architectures, in order."
  @spec names() :: [String.t()]
  def names, do: @rows |> Map.keys() |> Enum.sort()

  @doc "The row of an architecture, with or without experts, or nil for one that is not known."
  @spec find(term(), boolean()) :: t() | nil
  def find(name, experts?) do
    with %{} = row <- @rows[name] do
      row = if experts?, do: Map.get(row, :experts, row), else: row
      defaults = %{fields: %{}, pairs: nil, rotated: nil, norms: nil, windows: nil, scaled: nil, type_of: :f16}
      names = Map.merge(Map.new(@names), Map.new(Map.get(row, :names, [])))
      defaults |> Map.merge(row) |> Map.merge(%{keys: @common ++ row.keys, names: Map.to_list(names)})
    end
  end
end
