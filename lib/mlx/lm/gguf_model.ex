defmodule Mlx.LM.GGUFModel do
  @moduledoc false
  # The decoder of a GGUF file: its metadata as the fields of a configuration, and its tensors.
  #
  # GGUF files of Llama have the rows of q and k in the order that pairs neighbouring features.

  use Mlx.LM.Family

  alias Mlx.LM.{Checkpoint, Decoder}
  alias Mlx.LM.Families.{Fields, Plain}

  # All quantized formats that MLX keeps (Q4_0, Q4_1, Q8_0) share one scale between 32 numbers.
  @group_size 32

  @architectures ["llama"]

  @doc "The architectures of files that can be loaded."
  @spec architectures() :: [String.t()]
  def architectures, do: @architectures

  @doc """
  The decoder, ready to run, of tensors with the names of the file, and its metadata. Options: `:form` and `:type`.
  """
  @spec new(Mlx.LM.Family.tensors(), map(), String.t(), keyword()) :: Decoder.t()
  def new(tensors, metadata, source, options \\ []) do
    type = options[:type] || if(Mlx.Device.default() == :cpu, do: :f32, else: :f16)
    {tree, _fields} = tree(tensors, metadata, source, type)
    Decoder.for_inference(tree, form: options[:form])
  end

  @doc "As `new/4`, with the paths that Hugging Face's files have, and the fields of its configuration."
  @spec tree(Mlx.LM.Family.tensors(), map(), String.t(), Mlx.Type.t() | nil) :: {Decoder.t(), Fields.t()}
  def tree(tensors, metadata, source, type) do
    fields = metadata |> Fields.new(source) |> fields(tensors)
    {Checkpoint.from_tensors(tensors, fields, type: type, source: source, families: %{"gguf" => __MODULE__}), fields}
  end

  defp fields(metadata, tensors) do
    size = fn key -> Fields.size(metadata, "llama.#{key}") end

    if Fields.count(metadata, "llama.expert_count", 0) > 0,
      do: Fields.refuse(metadata, "llama.expert_count", "no experts")

    layers = Fields.layers(metadata, "llama.block_count")
    heads = size.("attention.head_count")
    context_length = size.("context_length")
    head_size = Fields.size(metadata, "llama.attention.key_length", max(div(size.("embedding_length"), heads), 1))
    biases = fn part -> for layer <- 0..(layers - 1), do: is_map_key(tensors, "blk.#{layer}.#{part}.bias") end

    Fields.new(
      %{
        "model_type" => "gguf",
        "vocab_size" => vocabulary(metadata, tensors),
        "hidden_size" => size.("embedding_length"),
        "num_hidden_layers" => layers,
        "intermediate_size" => hidden(metadata, tensors),
        "num_attention_heads" => heads,
        "num_key_value_heads" => Fields.size(metadata, "llama.attention.head_count_kv", heads),
        "head_dim" => head_size,
        "max_position_embeddings" => context_length,
        "rms_norm_eps" => Fields.positive(metadata, "llama.attention.layer_norm_rms_epsilon"),
        "rope_theta" => Fields.positive(metadata, "llama.rope.freq_base", 10_000.0),
        "rope_dims" => Fields.size(metadata, "llama.rope.dimension_count", head_size),
        "rope_traditional" => true,
        "rope_scaling" => rope_scaling(metadata, tensors, context_length),
        "input_biases" => biases.("attn_q"),
        "output_biases" => biases.("attn_output"),
        "quantization" => quantization(tensors)
      },
      metadata.source
    )
  end

  defp vocabulary(metadata, tensors) do
    rows(tensors["token_embd.weight"]) || Fields.size(metadata, "llama.vocab_size", 1)
  end

  defp hidden(metadata, tensors) do
    rows(tensors["blk.0.ffn_gate.weight"]) || Fields.size(metadata, "llama.feed_forward_length", 1)
  end

  defp rows(%Mlx.Array{shape: {rows, _columns}}), do: rows
  defp rows(_other), do: nil

  # Llama 3 stretches each wavelength by a factor of its own.
  defp rope_scaling(metadata, tensors, context_length) do
    case {Fields.choice(metadata, "llama.rope.scaling.type", ["none", "linear"], "none"), tensors["rope_freqs.weight"]} do
      {"linear", _factors} ->
        %{"type" => "linear", "factor" => Fields.positive(metadata, "llama.rope.scaling.factor")}

      {"none", nil} ->
        nil

      {"none", factors} ->
        factors = Mlx.to_list(Mlx.as_type(factors, :f32))
        %{"type" => "longrope", "long_factor" => factors, "original_max_position_embeddings" => context_length}
    end
  end

  defp quantization(tensors) do
    for {name, %Mlx.Array{shape: {_rows, groups}}} <- tensors,
        String.ends_with?(name, ".scales"),
        into: %{"group_size" => @group_size} do
      layer = String.replace_suffix(name, ".scales", "")
      {layer, %{"group_size" => @group_size, "bits" => bits(tensors["#{layer}.weight"], groups)}}
    end
  end

  # A word of a packed matrix holds 32 bits.
  defp bits(%Mlx.Array{shape: {_rows, words}}, groups), do: div(words * 32, groups * @group_size)
  defp bits(_other, _groups), do: 4

  @impl true
  def config(fields) do
    layers = Fields.layers(fields, "num_hidden_layers")
    [input, output] = for key <- ["input_biases", "output_biases"], do: Fields.list(fields, key, layers, nil)
    size = Fields.size(fields, "head_dim")
    rope = Mlx.LM.Families.Rope.read(fields, size, dims: Fields.size(fields, "rope_dims"))

    Plain.config(fields,
      attention: [rope: rope],
      block: &[attention: [bias: Enum.at(input, &1), output_bias: Enum.at(output, &1)]]
    )
  end

  @impl true
  def names do
    [
      {"token_embd", "model.embed_tokens"},
      {"output_norm", "model.norm"},
      {"output", "lm_head"},
      {"blk", "model.layers"},
      {"attn_norm", "input_layernorm"},
      {"ffn_norm", "post_attention_layernorm"},
      {"attn_q", "self_attn.q_proj"},
      {"attn_k", "self_attn.k_proj"},
      {"attn_v", "self_attn.v_proj"},
      {"attn_output", "self_attn.o_proj"},
      {"ffn_gate", "mlp.gate_proj"},
      {"ffn_up", "mlp.up_proj"},
      {"ffn_down", "mlp.down_proj"}
    ]
  end

  @impl true
  def tensors(tensors, _fields), do: Map.delete(tensors, "rope_freqs.weight")
end
