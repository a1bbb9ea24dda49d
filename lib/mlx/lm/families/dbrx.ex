defmodule Mlx.LM.Families.DBRX do
  @moduledoc false
  # Layer normalisations without biases, bounded queries, keys and values, whose matrices are one, and experts.

  use Mlx.LM.Family

  alias Mlx.LM.Decoder.Experts
  alias Mlx.LM.Families.{Fields, Plain, Rope, Tensors}

  @impl true
  def config(fields) do
    attend = part(fields, "attn_config")
    forward = part(fields, "ffn_config")
    width = Fields.size(fields, "d_model")

    fields =
      fields
      |> Fields.put_new("hidden_size", width)
      |> Fields.put_new("num_hidden_layers", Fields.layers(fields, "n_layers"))
      |> Fields.put_new("num_attention_heads", Fields.size(fields, "n_heads"))
      |> Fields.put_new("num_key_value_heads", Fields.size(attend, "kv_n_heads"))
      |> Fields.put_new("max_position_embeddings", Fields.size(fields, "max_seq_len", 4096))

    rope = Rope.read(fields, Plain.head_size(fields), base: Rope.theta(attend), scaling: false)

    Plain.config(fields,
      norm: {:layer_without_bias, 1.0e-5},
      attention: [
        joined: true,
        bias: false,
        output_bias: false,
        rope: rope,
        clip: Fields.positive(attend, "clip_qkv", nil)
      ],
      feed_forward:
        {Experts,
         width: width,
         experts: Fields.size(forward, "moe_num_experts"),
         top: Fields.size(forward, "moe_top_k"),
         hidden: Fields.size(forward, "ffn_hidden_size"),
         normalize: true},
      tied: false
    )
  end

  defp part(fields, key), do: Fields.under(fields, key) || Fields.refuse(fields, key, "an object")

  @impl true
  def names do
    [
      {"transformer.wte", "model.embed_tokens"},
      {"transformer.blocks", "model.layers"},
      {"transformer.norm_f", "model.norm"},
      {"norm_attn_norm.norm_1", "input_layernorm"},
      {"norm_attn_norm.norm_2", "post_attention_layernorm"},
      {"norm_attn_norm.attn.Wqkv", "self_attn.qkv_proj"},
      {"norm_attn_norm.attn.out_proj", "self_attn.o_proj"},
      {"ffn.router.layer", "mlp.gate"},
      {"ffn", "mlp"}
    ]
  end

  @matrices %{"w1" => "gate_proj", "v1" => "up_proj", "w2" => "down_proj"}

  # In files of Hugging Face the rows of all experts are one matrix, and those of the last one are transposed.
  @impl true
  def tensors(tensors, fields) do
    experts = fields |> part("ffn_config") |> Fields.size("moe_num_experts")

    tensors
    |> Tensors.stack_experts(@matrices)
    |> Tensors.replace(~r/\.mlp\.experts\.mlp\.(w1|v1|w2)$/, fn name, %{shape: {rows, columns}} = array ->
      [path, matrix] = String.split(name, ".experts.mlp.")
      stack = Mlx.reshape(array, {experts, div(rows, experts), columns})
      stack = if matrix == "w2", do: Mlx.matrix_transpose(stack), else: stack
      [{"#{path}.switch_mlp.#{@matrices[matrix]}.weight", stack}]
    end)
  end

  @theirs Map.new(@matrices, fn {theirs, ours} -> {ours, theirs} end)

  # In those of MLX each expert stands by itself.
  @impl true
  def saved(path, array, _fields) do
    case Regex.run(~r/^(.*)\.switch_mlp\.(\w+)\.(\w+)$/, path) do
      [_all, layer, matrix, part] ->
        for {expert, number} <- array |> Mlx.unstack() |> Enum.with_index(),
            do: {"#{layer}.experts.#{number}.#{@theirs[matrix]}.#{part}", expert}

      nil ->
        [{path, array}]
    end
  end
end
