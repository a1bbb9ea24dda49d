defmodule Mlx.LM.Families.KimiLinear do
  @moduledoc false
  # The delta rule in the layers that a list names, latent attention without positions in the others; DeepSeek V3's experts
  # with fields and names of its own.

  use Mlx.LM.Family

  alias Mlx.LM.Decoder.{Config, Experts, FeatureDelta}
  alias Mlx.LM.Families.{Fields, Latent, Plain, Tensors}

  @impl true
  def config(fields) do
    config(fields,
      delta: &[rates: {1, 1, Fields.size(&1, "num_heads"), 1}],
      latent: [query_latent: nil, eps: Fields.positive(fields, "rms_norm_eps")]
    )
  end

  @doc """
  The configuration with what is different in the delta rule, a function of its fields, in latent attention, in experts and
  in other feed-forward layers.
  """
  @spec config(Fields.t(), keyword()) :: Config.t()
  def config(fields, different) do
    linear = Fields.under(fields, "linear_attn_config") || Fields.refuse(fields, "linear_attn_config", "an object")
    delta = {FeatureDelta, delta(fields, linear) ++ different[:delta].(linear)}
    layers = layers(linear)
    latent = Latent.mixer(sizes(fields), [rope: nil, bias: false] ++ different[:latent])
    plain = Fields.count(fields, "first_k_dense_replace", 0)
    step = Fields.size(fields, "moe_layer_freq", 1)
    experts? = Fields.count(fields, "num_experts", 0) > 0
    experts = fn -> [feed_forward: experts(fields, different[:experts] || [])] end

    fields
    |> Fields.put_new("max_position_embeddings", Fields.size(fields, "model_max_length", 1_048_576))
    |> Plain.config(
      block: fn layer ->
        mixer = if (layer + 1) in layers, do: {:self_attn, delta}, else: latent
        [mixers: [mixer]] ++ if experts? and layer >= plain and rem(layer, step) == 0, do: experts.(), else: []
      end,
      feed_forward: [bias: false] ++ (different[:feed_forward] || []),
      tied: Fields.flag(fields, "tie_word_embeddings", false)
    )
  end

  defp delta(fields, linear) do
    [
      width: Fields.size(fields, "hidden_size"),
      heads: Fields.size(linear, "num_heads"),
      size: Fields.size(linear, "head_dim"),
      kernel: Fields.size(linear, "short_conv_kernel_size", 4),
      eps: Fields.positive(fields, "rms_norm_eps")
    ]
  end

  # The first layer has the number 1.
  defp layers(linear) do
    case linear.map["kda_layers"] do
      [_ | _] = layers when length(layers) <= 4096 -> layers
      _other -> Fields.refuse(linear, "kda_layers", "a list of numbers of layers")
    end
  end

  # What a file need not say.
  defp sizes(fields) do
    for key <- ~w(qk_nope_head_dim v_head_dim), not Fields.has?(fields, key), reduce: fields do
      fields -> Fields.put_new(fields, key, Fields.size(fields, "head_dim"))
    end
  end

  defp experts(fields, different) do
    hidden = Fields.size(fields, "moe_intermediate_size")
    shared = Fields.count(fields, "num_shared_experts", 0)
    top = Fields.size(fields, "num_experts_per_token", 1)
    scores = Fields.choice(fields, "moe_router_activation_func", ["sigmoid", "softmax"], "sigmoid")

    {Experts,
     [
       width: Fields.size(fields, "hidden_size"),
       experts: Fields.size(fields, "num_experts"),
       top: top,
       hidden: hidden,
       scores: if(scores == "sigmoid", do: :sigmoid, else: :softmax),
       correction: true,
       normalize: top > 1 and Fields.flag(fields, "moe_renormalize", true),
       scale: Fields.number(fields, "routed_scaling_factor", 1.0),
       groups: {Fields.size(fields, "num_expert_group", 1), Fields.size(fields, "topk_group", 1)},
       shared: if(shared > 0, do: shared * hidden)
     ] ++ different}
  end

  @impl true
  def names do
    [
      {"mlp", "mlp"},
      {"mlp.shared_experts", "mlp.shared_expert"},
      {"mlp.e_score_correction_bias", "mlp.e_score_correction_bias"},
      {"block_sparse_moe.shared_experts", "mlp.shared_expert"},
      {"block_sparse_moe.gate.e_score_correction_bias", "mlp.e_score_correction_bias"},
      {"block_sparse_moe", "mlp"}
    ] ++
      for(form <- ["conv.conv", "conv1d"], part <- ~w(q k v), do: {"#{part}_#{form}", "#{part}_conv"})
  end

  # The choice of experts has 8 bits.
  @impl true
  def packing(path), do: if(String.ends_with?(path, "mlp.gate"), do: [group_size: 64, bits: 8], else: true)

  @impl true
  def tensors(tensors, fields) do
    tensors
    |> Map.reject(fn {name, _array} -> String.starts_with?(name, "model.mtp") end)
    |> Tensors.kernels()
    |> Tensors.replace(~r/self_attn\.dt_bias$/, fn name, array -> [{name, Mlx.flatten(array)}] end)
    |> Tensors.stack_experts(%{"w1" => "gate_proj", "w2" => "down_proj", "w3" => "up_proj"})
    |> Latent.embedded(fields, Fields.size(sizes(fields), "v_head_dim"))
  end
end
