defmodule Mlx.LM.Families.FalconH1 do
  @moduledoc false
  # A state space beside attention in each block. In Hugging Face's files many factors stand beside the matrices; MLX's
  # files have matrices that are multiplied already.

  use Mlx.LM.Family

  alias Mlx.LM.Decoder.Mamba2
  alias Mlx.LM.Families.{Fields, Plain, Tensors}

  @impl true
  def config(fields) do
    logits = factor(fields, "lm_head_multiplier") / Fields.positive(fields, "embedding_multiplier", 1.0)
    tied = Fields.flag(fields, "tie_word_embeddings", true)

    Plain.config(fields,
      mixers: [mamba: {Mamba2, state_space(fields)}, self_attn: :attention],
      logit_scale: if(tied, do: logits)
    )
  end

  defp factor(fields, key), do: Fields.number(fields, key, 1.0)

  defp state_space(fields) do
    [
      width: Fields.size(fields, "hidden_size"),
      heads: Fields.size(fields, "mamba_n_heads"),
      size: div(Fields.size(fields, "mamba_d_ssm"), Fields.size(fields, "mamba_n_heads")),
      groups: Fields.size(fields, "mamba_n_groups", 1),
      state: Fields.size(fields, "mamba_d_state"),
      kernel: Fields.size(fields, "mamba_d_conv", 4),
      bias: Fields.flag(fields, "mamba_proj_bias", false),
      output_bias: Fields.flag(fields, "projectors_bias", false),
      kernel_bias: Fields.flag(fields, "mamba_conv_bias", true),
      norm: if(Fields.flag(fields, "mamba_rms_norm", false), do: Fields.positive(fields, "rms_norm_eps")),
      norm_groups: Fields.size(fields, "mamba_n_groups", 1),
      norm_first: Fields.flag(fields, "mamba_norm_before_gate", false)
    ]
  end

  @impl true
  def names do
    [
      {"feed_forward", "mlp"},
      {"pre_ff_layernorm", "post_attention_layernorm"},
      {"model.final_layernorm", "model.norm"}
    ]
  end

  @impl true
  def tensors(tensors, fields) do
    if Tensors.their_kernels?(tensors), do: tensors |> Tensors.kernels() |> multiplied(fields), else: tensors
  end

  defp multiplied(tensors, fields) do
    factors = factors(fields)

    Map.new(tensors, fn {name, array} ->
      case Enum.find(factors, fn {layer, _in, _out} -> name =~ layer end) do
        nil -> {name, array}
        {_layer, input, output} -> {name, Mlx.multiply(array, factor(name, array, input, output))}
      end
    end)
  end

  # The factors of the inputs and of the outputs of layers.
  defp factors(fields) do
    input = factor(fields, "attention_in_multiplier")
    [gate, down] = numbers(fields, "mlp_multipliers", 2)

    [
      {~r/embed_tokens\./, factor(fields, "embedding_multiplier"), 1.0},
      {~r/^lm_head\./, factor(fields, "lm_head_multiplier"), 1.0},
      {~r/self_attn\.[qv]_proj\./, input, 1.0},
      {~r/self_attn\.k_proj\./, input, factor(fields, "key_multiplier")},
      {~r/self_attn\.o_proj\./, 1.0, factor(fields, "attention_out_multiplier")},
      {~r/mamba\.out_proj\./, 1.0, factor(fields, "ssm_out_multiplier")},
      {~r/mamba\.in_proj\./, factor(fields, "ssm_in_multiplier"), parts(fields)},
      {~r/mlp\.gate_proj\./, 1.0, gate},
      {~r/mlp\.down_proj\./, 1.0, down}
    ]
  end

  # Those of z, x, b, c and dt.
  defp parts(fields) do
    shared = Fields.size(fields, "mamba_n_groups", 1) * Fields.size(fields, "mamba_d_state")
    inner = Fields.size(fields, "mamba_d_ssm")

    fields
    |> numbers("ssm_multipliers", 5)
    |> Enum.zip_with([inner, inner, shared, shared, Fields.size(fields, "mamba_n_heads")], &Mlx.full({&2}, &1))
    |> Mlx.concatenate()
  end

  defp numbers(fields, key, count) do
    numbers = Fields.list(fields, key, count, List.duplicate(1.0, count))
    if Enum.all?(numbers, &is_number/1), do: numbers, else: Fields.refuse(fields, key, "#{count} numbers")
  end

  defp factor(name, array, input, output) do
    output = if is_struct(output) and String.ends_with?(name, ".weight"), do: Mlx.new_axis(output, 1), else: output
    output = if is_struct(output), do: Mlx.as_type(output, array.type), else: output
    if String.ends_with?(name, ".weight"), do: Mlx.multiply(output, input), else: output
  end
end
