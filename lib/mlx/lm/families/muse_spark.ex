defmodule Mlx.LM.Families.MuseSpark do
  @moduledoc false
  # As MuseGlimmer, with experts between two matrices, a gate for each feature of the stream in place of sums, and heads of
  # outputs that are normalised before their gate.
  #
  # Hugging Face's files hold the rows of queries and keys for pairs of features that are half a head apart, weights of
  # normalisations that are one less, and one number for each gate of the stream.

  use Mlx.LM.Family

  alias Mlx.LM.Decoder.{Experts, ResidualGate}
  alias Mlx.LM.Families.{Fields, MuseGlimmer, Plain, Rope, Tensors}

  @impl true
  def config(fields) do
    eps = Fields.positive(fields, "rms_norm_eps")
    after_parts = Fields.positive(fields, "post_norm_eps")
    size = Fields.size(fields, "head_dim")
    windows = Plain.windows(fields, fn _layer -> Fields.refuse(fields, "layer_types", "a list") end)
    rotation = Fields.under(fields, "rope_parameters") || Fields.refuse(fields, "rope_parameters", "an object")
    bases = MuseGlimmer.bases(fields, windows, Fields.positive(rotation, "rope_theta"))
    check!(fields, length(windows))

    fields
    |> Plain.config(
      norms: :sandwich,
      norm: {:rms_rounded, eps},
      norm_kinds: [
        post_attention_layernorm: {:rms_without_weight, after_parts},
        post_feedforward_layernorm: {:rms_of_weighed, after_parts}
      ],
      attention: [
        bias: false,
        output_bias: false,
        norm: {:rms_without_weight, eps},
        scale: Fields.positive(fields, "qk_scale_factor", 5.4730064863875) / :math.sqrt(size),
        head_output_norm: eps,
        gate: {:features, :sigmoid}
      ],
      block:
        &[
          attention: [
            window: Enum.at(windows, &1),
            rope:
              if(base = Enum.at(bases, &1), do: Rope.read(fields, size, base: base, traditional: true, scaling: false))
          ]
        ],
      feed_forward: experts(fields, eps, after_parts),
      embedding_norm: {:rms_without_weight, eps},
      tied: false,
      logit_scale: Fields.positive(fields, "output_multiplier"),
      logit_cap: Fields.positive(fields, "final_logit_softcapping")
    )
    |> gated()
  end

  defp check!(fields, count) do
    if Fields.count(fields, "num_shared_experts", 0) != 0, do: Fields.refuse(fields, "num_shared_experts", "0")

    if Enum.any?(Fields.list(fields, "mlp_layer_types", count, []), &(&1 != "sparse")),
      do: Fields.refuse(fields, "mlp_layer_types", ~s("sparse" for each layer))
  end

  defp experts(fields, eps, after_parts) do
    {Experts,
     width: Fields.size(fields, "hidden_size"),
     experts: Fields.size(fields, "num_local_experts"),
     top: Fields.size(fields, "num_experts_per_tok"),
     hidden: Fields.size(fields, "moe_intermediate_size"),
     latent: Fields.size(fields, "moe_hidden_size"),
     norms: [input: {:rms, eps}, each: {:rms_of_weighed, after_parts}],
     scores: :sigmoid,
     logit_scale: Fields.positive(fields, "output_multiplier"),
     correction: true,
     normalize: true,
     scale: Fields.number(fields, "routed_scaling_factor", 1.0)}
  end

  defp gated(config) do
    blocks =
      for {[[attention], [experts]], parts} <- config.blocks do
        {[[Map.put(attention, :gate, :add_attn)], [Map.put(experts, :gate, :add_ffn)]],
         parts ++ for(name <- [:add_attn, :add_ffn], do: {name, {ResidualGate, width: config.width}})}
      end

    %{config | blocks: blocks}
  end

  @impl true
  def names do
    gates = for gate <- ~w(add_attn add_ffn), part <- ~w(alpha beta), do: {"#{gate}_#{part}", "#{gate}.#{part}"}

    Tensors.stacked_names() ++
      gates ++
      [
        {"self_attn.gate_proj", "self_attn.g_proj"},
        {"mlp.gate.e_score_correction_bias", "mlp.e_score_correction_bias"},
        {"mlp.pre_expert_proj", "mlp.fc1_latent_proj"},
        {"mlp.pre_expert_norm", "mlp.norms.input"},
        {"mlp.post_expert_proj", "mlp.fc2_latent_proj"},
        {"mlp.experts.post_expert_norm", "mlp.norms.each"},
        {"post_attention_residual_gate.gate", "add_attn.gate"},
        {"post_feedforward_residual_gate.gate", "add_ffn.gate"}
      ]
  end

  # As in MLX, experts alone.
  @impl true
  def packing(path), do: path =~ ".switch_mlp."

  @joint ~w(self_attn.q_proj self_attn.k_proj self_attn.v_proj self_attn.g_proj)

  @impl true
  def joints, do: [{"self_attn.qkvg_proj", @joint, fn parts, _fields -> Mlx.concatenate(parts) end}]

  @shifted ~r/\.(input_layernorm|pre_feedforward_layernorm|post_feedforward_layernorm|norms\.input|norms\.each)\.weight$/

  @impl true
  def tensors(tensors, fields) do
    if Enum.any?(tensors, fn {name, _array} -> name =~ ~r/\.add_(attn|ffn)\.gate$/ end) do
      tensors
      |> Tensors.replace(~r/\.add_(attn|ffn)\.gate$/, &gate/2)
      |> Tensors.replace(@shifted, fn name, array -> [{name, Mlx.add(array, 1)}] end)
      |> Tensors.replace(~r/\.self_attn\.[qk]_proj\./, &[{&1, neighbours(&2, Fields.size(fields, "head_dim"))}])
      |> Tensors.replace(~r/\.mlp\.(experts\.gate_up_proj|switch_mlp\.down_proj)$/, fn name, array ->
        Tensors.stacks(String.replace(name, ".switch_mlp.", ".experts."), array)
      end)
    else
      Tensors.replace(tensors, ~r/\.self_attn\.qkvg_proj\./, &apart(&1, &2, fields))
    end
  end

  defp gate(name, array) do
    path = String.replace_suffix(name, ".gate", "")
    %ResidualGate{alpha: alpha, beta: beta} = ResidualGate.of(array)
    [{path <> ".alpha", alpha}, {path <> ".beta", beta}]
  end

  # Rows for pairs of neighbouring features.
  defp neighbours(%Mlx.Array{shape: {rows, columns}} = array, size) when rem(rows, size) == 0 and rem(size, 2) == 0 do
    array |> Mlx.reshape({:auto, 2, div(size, 2), columns}) |> Mlx.swap_axes(1, 2) |> Mlx.reshape({rows, columns})
  end

  defp neighbours(array, _size), do: array

  defp apart(name, array, fields) do
    [queries, keys] =
      for key <- ~w(num_attention_heads num_key_value_heads),
          do: Fields.size(fields, key) * Fields.size(fields, "head_dim")

    if Mlx.axis_size(array, 0) == 2 * (queries + keys) do
      parts = Mlx.split(array, [queries, queries + keys, queries + 2 * keys])
      for {part, rows} <- Enum.zip(~w(q k v g), parts), do: {String.replace(name, "qkvg_", part <> "_"), rows}
    else
      [{name, array}]
    end
  end
end
