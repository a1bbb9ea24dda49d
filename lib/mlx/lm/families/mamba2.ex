defmodule Mlx.LM.Families.Mamba2 do
  @moduledoc false
  # A state space in each block, and nothing else.

  use Mlx.LM.Family

  alias Mlx.LM.Decoder.Mamba2
  alias Mlx.LM.Families.{Fields, Plain, Tensors}

  @impl true
  def config(fields) do
    eps = Fields.positive(fields, "layer_norm_epsilon", 1.0e-5)
    bias = Fields.flag(fields, "use_bias", false)

    mixer =
      {Mamba2,
       width: Fields.size(fields, "hidden_size"),
       heads: Fields.size(fields, "num_heads"),
       size: Fields.size(fields, "head_dim"),
       groups: Fields.size(fields, "n_groups", 1),
       state: Fields.size(fields, "ssm_state_size", nil) || Fields.size(fields, "state_size"),
       kernel: Fields.size(fields, "conv_kernel", 4),
       bias: bias,
       output_bias: bias,
       kernel_bias: Fields.flag(fields, "use_conv_bias", true),
       times: times(fields),
       norm: eps}

    Plain.config(fields, norm: {:rms, eps}, norms: :alone, mixers: [mixer: mixer])
  end

  @doc "The bounds of a time step, `{least, most}`."
  @spec times(Fields.t(), {number(), number() | nil}) :: {number(), number() | nil}
  def times(fields, default \\ {0.0, nil}) do
    case Fields.list(fields, "time_step_limit", 2, nil) do
      nil -> default
      [least, most] when is_number(least) and is_number(most) -> {least, most}
      # JSON has no infinity.
      [least, "Infinity"] when is_number(least) -> {least, nil}
      _other -> Fields.refuse(fields, "time_step_limit", "two numbers")
    end
  end

  @impl true
  def names,
    do: [{"backbone", "model"}, {"backbone.embeddings", "model.embed_tokens"}, {"backbone.norm_f", "model.norm"}]

  @impl true
  def tensors(tensors, _fields), do: Tensors.kernels(tensors)
end
