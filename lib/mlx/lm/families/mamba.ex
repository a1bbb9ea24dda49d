defmodule Mlx.LM.Families.Mamba do
  @moduledoc false
  # A selective state space in each block, and nothing else. Falcon Mamba normalises its inputs.

  use Mlx.LM.Family

  alias Mlx.LM.Decoder.Mamba
  alias Mlx.LM.Families
  alias Mlx.LM.Families.{Fields, Plain, Tensors}

  @impl true
  def config(fields) do
    eps = Fields.positive(fields, "layer_norm_epsilon", 1.0e-5)
    width = Fields.size(fields, "hidden_size")
    normalized? = fields.map["model_type"] == "falcon_mamba" or Fields.flag(fields, "use_bcdt_rms", false)

    mixer =
      {Mamba,
       width: width,
       inner: Fields.size(fields, "intermediate_size"),
       state: Fields.size(fields, "state_size"),
       rank: rank(fields, "time_step_rank", width),
       kernel: Fields.size(fields, "conv_kernel", 4),
       bias: Fields.flag(fields, "use_bias", false),
       kernel_bias: Fields.flag(fields, "use_conv_bias", true),
       norms: if(normalized?, do: {:rms_without_weight, Fields.positive(fields, "mixer_rms_eps", 1.0e-6)})}

    Plain.config(fields, norm: {:rms, eps}, norms: :alone, mixers: [mixer: mixer])
  end

  @doc "The rank of the time steps, a size or `auto`."
  @spec rank(Fields.t(), String.t(), pos_integer()) :: pos_integer()
  def rank(fields, key, width) do
    if Map.get(fields.map, key) in [nil, "auto"], do: div(width + 15, 16), else: Fields.size(fields, key)
  end

  @impl true
  def names, do: Families.Mamba2.names()

  @impl true
  def tensors(tensors, _fields), do: Tensors.kernels(tensors)
end
