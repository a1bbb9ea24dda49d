defmodule Mlx.LM.Families.Gear do
  @moduledoc false
  # Gemma 3 with convolved gates in some layers, in the place of attention.

  use Mlx.LM.Family

  alias Mlx.LM.Decoder.ConvolvedGate
  alias Mlx.LM.Families.{Fields, Plain, Rope, Tensors}

  @kinds ["conv_mixer", "full_attention", "sliding_attention"]

  @impl true
  def config(fields) do
    if Fields.flag(fields, "use_bidirectional_attention", false),
      do: Fields.refuse(fields, "use_bidirectional_attention", "false")

    norm = {:rms_plus_one, Fields.positive(fields, "rms_norm_eps")}
    size = Plain.head_size(fields)
    kinds = Plain.layer_types(fields, @kinds, fn _layer -> "full_attention" end)
    window = Fields.size(fields, "sliding_window", 512)
    local = Rope.read(fields, size, base: Fields.positive(fields, "rope_local_base_freq", 10_000.0), scaling: false)
    global = Rope.read(fields, size, base: Rope.theta(fields, 1_000_000.0), traditional: false)

    Plain.config(fields,
      norm: norm,
      norms: :sandwich,
      attention: [
        norm: norm,
        scale: Fields.positive(fields, "query_pre_attn_scalar", size) ** -0.5,
        soft_cap: Fields.positive(fields, "attn_logit_softcapping", nil)
      ],
      block: fn layer ->
        case Enum.at(kinds, layer) do
          "conv_mixer" -> [mixers: [local_mixer: {ConvolvedGate, gate(fields, size, norm)}]]
          "full_attention" -> [attention: [rope: global]]
          "sliding_attention" -> [attention: [rope: local, window: window]]
        end
      end,
      feed_forward: [
        bias: false,
        activation: Fields.choice(fields, "hidden_activation", activations(), "gelu_pytorch_tanh")
      ],
      embedding_scale: :math.sqrt(Fields.size(fields, "hidden_size")),
      logit_cap: Fields.positive(fields, "final_logit_softcapping", nil)
    )
  end

  defp activations, do: ~w(gelu_pytorch_tanh gelu_new gelu_fast gelu silu swish)

  defp gate(fields, size, norm) do
    heads = Fields.size(fields, "num_attention_heads")

    [
      width: Fields.size(fields, "hidden_size"),
      heads: heads,
      key_value_heads: Plain.key_value_heads(fields, heads),
      head_size: size,
      kernel: Fields.size(fields, "conv_L_cache", 3),
      norm: norm,
      bias: Fields.flag(fields, "attention_bias", false)
    ]
  end

  @impl true
  def tensors(tensors, _fields) do
    tensors |> Map.reject(fn {name, _array} -> String.ends_with?(name, "embed_scale") end) |> Tensors.kernels()
  end
end
