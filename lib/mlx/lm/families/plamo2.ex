defmodule Mlx.LM.Families.Plamo2 do
  @moduledoc false
  # A state space in most blocks, attention with normalised heads in the others; normalisations before and after each part,
  # whose weights have constants added.

  use Mlx.LM.Family

  alias Mlx.LM.Decoder.HeadMamba
  alias Mlx.LM.Families.{Fields, Plain, Rope, Tensors}

  @times {0.001, 100.0}
  @head_eps 1.0e-6

  @impl true
  def config(fields) do
    eps = Fields.positive(fields, "rms_norm_eps", 1.0e-6)
    size = Fields.size(fields, "hidden_size_per_head", 128)

    Plain.config(
      fields,
      norms(eps) ++
        [
          attention: [
            joined: true,
            bias: false,
            output_bias: false,
            head_size: size,
            norm: {:rms, @head_eps},
            norm_of: :each,
            rope: Rope.read(fields, size, traditional: false, scaling: false)
          ],
          feed_forward: [joined: true, bias: false],
          block:
            &[
              mixers: [mixer: if(mamba?(fields, &1), do: {HeadMamba, state_space(fields, size, eps)}, else: :attention)]
            ]
        ]
    )
  end

  @doc "The normalisations, as options of `Mlx.LM.Families.Plain.config/2`."
  @spec norms(float()) :: keyword()
  def norms(eps) do
    [
      norm: {:rms_plus_one, eps},
      norms: :sandwich,
      norm_kinds: [
        post_attention_layernorm: {{:rms_plus, 1 / 5}, eps},
        post_feedforward_layernorm: {{:rms_plus, 5 ** -1.5}, eps}
      ]
    ]
  end

  defp mamba?(fields, layer) do
    {count, step} = {Fields.layers(fields, "num_hidden_layers"), Fields.size(fields, "mamba_step", 2)}

    cond do
      not Fields.flag(fields, "mamba_enabled", true) -> false
      count <= div(step, 2) -> layer != count - 1
      true -> rem(layer, step) != div(step, 2)
    end
  end

  defp state_space(fields, size, eps) do
    width = Fields.size(fields, "hidden_size")

    [
      width: width,
      heads: Fields.size(fields, "mamba_num_heads", 64),
      size: size,
      state: Fields.size(fields, "mamba_d_state", 64),
      rank: max(64, div(width, 16)),
      kernel: Fields.size(fields, "mamba_d_conv", 4),
      eps: eps,
      times: @times
    ]
  end

  @doc "The names of blocks and of their normalisations."
  @spec places() :: [{String.t(), String.t()}]
  def places do
    [
      {"model.layers.layers", "model.layers"},
      {"pre_mixer_norm", "input_layernorm"},
      {"post_mixer_norm", "post_attention_layernorm"},
      {"pre_mlp_norm", "pre_feedforward_layernorm"},
      {"post_mlp_norm", "post_feedforward_layernorm"}
    ]
  end

  @impl true
  def names do
    [
      {"mixer.q_weight", "mixer.q_norm.weight"},
      {"mixer.k_weight", "mixer.k_norm.weight"},
      {"mixer.dt_norm_weight", "mixer.dt_norm.weight"},
      {"mixer.B_norm_weight", "mixer.b_norm.weight"},
      {"mixer.C_norm_weight", "mixer.c_norm.weight"}
      | places()
    ]
  end

  @impl true
  def tensors(tensors, _fields), do: Tensors.kernels(tensors)
end
