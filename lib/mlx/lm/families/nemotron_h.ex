defmodule Mlx.LM.Families.NemotronH do
  @moduledoc false
  # Each block has one part, by a pattern of letters: a state space (M), attention without rotary positions (*), a
  # feed-forward layer (-) or experts (E), which are not gated.

  use Mlx.LM.Family

  alias Mlx.LM.Decoder.{Experts, Mamba2, PlainFeedForward}
  alias Mlx.LM.Families
  alias Mlx.LM.Families.{Fields, Plain, Tensors}

  @kinds %{
    "full_attention" => "*",
    "attention" => "*",
    "linear_attention" => "M",
    "mamba" => "M",
    "conv" => "M",
    "moe" => "E",
    "mlp" => "-"
  }

  @impl true
  def packing(path), do: not String.ends_with?(path, ".gate")

  @impl true
  def config(fields) do
    pattern = pattern(fields)
    fields = %{fields | map: Map.put(fields.map, "num_hidden_layers", length(pattern))}
    eps = Fields.positive(fields, "layer_norm_epsilon", 1.0e-5)

    Plain.config(fields,
      norm: {:rms, eps},
      norms: :alone,
      attention: [rope: nil],
      block: &[mixers: [mixer: part(Enum.at(pattern, &1), fields, eps)]]
    )
  end

  defp pattern(fields) do
    letters = fields.map["hybrid_override_pattern"]
    types = fields.map["layers_block_type"] || fields.map["layer_types"]

    pattern =
      cond do
        is_binary(letters) -> String.graphemes(letters)
        is_list(letters) -> letters
        is_list(types) -> Enum.map(types, &Map.get(@kinds, &1))
        true -> []
      end

    if pattern == [] or length(pattern) > 4096 or not Enum.all?(pattern, &(&1 in ["M", "*", "-", "E"])) do
      Fields.refuse(fields, "hybrid_override_pattern", "letters M, *, - and E, one for each layer")
    end

    pattern
  end

  defp part("*", _fields, _eps), do: :attention

  defp part("M", fields, eps) do
    bias = Fields.flag(fields, "mamba_proj_bias", false)
    groups = Fields.size(fields, "n_groups", 1)

    {Mamba2,
     width: Fields.size(fields, "hidden_size"),
     heads: Fields.size(fields, "mamba_num_heads"),
     size: Fields.size(fields, "mamba_head_dim"),
     groups: groups,
     state: Fields.size(fields, "ssm_state_size"),
     kernel: Fields.size(fields, "conv_kernel", 4),
     bias: bias,
     output_bias: bias,
     kernel_bias: Fields.flag(fields, "use_conv_bias", true),
     times: Families.Mamba2.times(fields),
     norm: eps,
     norm_groups: groups}
  end

  defp part("-", fields, _eps) do
    {PlainFeedForward,
     width: Fields.size(fields, "hidden_size"),
     hidden: Fields.size(fields, "intermediate_size"),
     bias: Fields.flag(fields, "mlp_bias", false),
     activation: "relu2"}
  end

  defp part("E", fields, _eps) do
    {Experts,
     width: Fields.size(fields, "hidden_size"),
     experts: Fields.size(fields, "n_routed_experts"),
     top: Fields.size(fields, "num_experts_per_tok"),
     hidden: Fields.size(fields, "moe_intermediate_size"),
     latent: Fields.size(fields, "moe_latent_size", nil),
     latent_bias: Fields.flag(fields, "mlp_bias", false),
     gated: false,
     activation: "relu2",
     scores: :sigmoid,
     correction: true,
     normalize: Fields.flag(fields, "norm_topk_prob", false),
     scale: Fields.number(fields, "routed_scaling_factor", 1.0),
     groups: {Fields.size(fields, "n_group", 1), Fields.size(fields, "topk_group", 1)},
     shared:
       Fields.count(fields, "n_shared_experts", 0) > 0 && Fields.size(fields, "moe_shared_expert_intermediate_size"),
     shared_bias: Fields.flag(fields, "mlp_bias", false)}
  end

  @impl true
  def names do
    [
      {"mixer.up_proj", "mixer.fc1"},
      {"mixer.down_proj", "mixer.fc2"},
      {"mixer.shared_experts.up_proj", "mixer.shared_expert.fc1"},
      {"mixer.shared_experts.down_proj", "mixer.shared_expert.fc2"},
      {"mixer.switch_mlp.fc1", "mixer.switch_mlp.up_proj"},
      {"mixer.switch_mlp.fc2", "mixer.switch_mlp.down_proj"},
      {"mixer.gate.e_score_correction_bias", "mixer.e_score_correction_bias"}
      | Families.Mamba2.names()
    ]
  end

  @impl true
  def tensors(tensors, _fields) do
    tensors
    |> Map.reject(fn {name, _array} -> String.starts_with?(name, "mtp.") end)
    |> Tensors.kernels()
    |> Tensors.stack_experts()
  end
end
