defmodule Mlx.LM.Families.KimiK3 do
  @moduledoc false
  # KimiLinear whose parts read a mean of the sums of several blocks. Latent attention has a gate, the delta rule has joined
  # matrices and decays with a bound, and experts may have features of their own.

  use Mlx.LM.Family

  alias Mlx.LM.Decoder.{ResidualBlock, ResidualStreams}
  alias Mlx.LM.Families.{Fields, KimiLinear, Latent, Tensors}

  @defaults %{"num_experts_per_token" => 16, "rms_norm_eps" => 1.0e-5, "max_position_embeddings" => 1_048_576}

  @impl true
  def config(fields) do
    fields = Enum.reduce(@defaults, fields, fn {key, value}, fields -> Fields.put_new(fields, key, value) end)
    Fields.choice(fields, "hidden_act", ["situ"], "situ")
    Fields.choice(fields, "moe_router_activation_func", ["sigmoid"], "sigmoid")
    if not Fields.flag(fields, "mla_use_nope", true), do: Fields.refuse(fields, "mla_use_nope", "true")
    activation = [activation: activation(fields)]

    fields
    |> KimiLinear.config(
      delta: &delta/1,
      latent: [gate: if(Fields.flag(fields, "mla_use_output_gate", false), do: :features)],
      experts: latent(fields) ++ activation,
      feed_forward: activation
    )
    |> in_several(fields)
  end

  defp activation(fields) do
    {"situ",
     {Fields.positive(fields, "activation_situ_beta", 1.0), Fields.positive(fields, "activation_situ_linear_beta", nil)}}
  end

  defp delta(linear) do
    [
      joined: true,
      whole: if(Fields.flag(linear, "use_full_rank_gate", false), do: [:g], else: []),
      bound: Fields.number(linear, "gate_lower_bound", nil)
    ]
  end

  defp latent(fields) do
    size = Fields.size(fields, "routed_expert_hidden_size", nil)
    norm? = size != nil and Fields.flag(fields, "latent_moe_use_norm", false)
    [latent: size, norms: if(norm?, do: [sum: {:rms, Fields.positive(fields, "rms_norm_eps")}], else: [])]
  end

  # Each of so many blocks begins a new sum.
  defp in_several(config, fields) do
    count = Fields.size(fields, "attn_res_block_size")

    blocks =
      for {{_steps, parts}, number} <- Enum.with_index(config.blocks) do
        body = [
          width: config.width,
          norm: config.norm,
          attention: parts[:self_attn],
          feed_forward: parts[:mlp],
          first: rem(number, count) == 0
        ]

        {[{:through, :body}], [body: {ResidualBlock, body}]}
      end

    %{config | blocks: blocks, streams: {ResidualStreams, width: config.width, norm: config.norm}}
  end

  @impl true
  def names do
    experts = [
      {"shared_experts", "shared_expert"},
      {"e_score_correction_bias", "e_score_correction_bias"},
      {"routed_expert_down_proj", "fc1_latent_proj"},
      {"routed_expert_up_proj", "fc2_latent_proj"},
      {"routed_expert_norm", "norms.sum"},
      {"gate.e_score_correction_bias", "e_score_correction_bias"}
    ]

    means = [
      {"self_attention_res", "body.self_attention_res"},
      {"mlp_res", "body.mlp_res"},
      {"model.output_attn_res", "model.streams"}
    ]

    for(part <- ~w(self_attn mlp input_layernorm post_attention_layernorm), do: {part, "body.#{part}"}) ++
      for(place <- ~w(mlp block_sparse_moe), {theirs, ours} <- experts, do: {"#{place}.#{theirs}", "body.mlp.#{ours}"}) ++
      for(
        form <- ["_#.weight", ".#_weight"],
        {theirs, ours} <- means,
        part <- ~w(proj norm),
        do: {theirs <> String.replace(form, "#", part), "#{ours}.#{part}.weight"}
      ) ++
      for(part <- ~w(q k v), do: {"#{part}_conv1d", "#{part}_conv"}) ++
      for(part <- ~w(qkv q k v), do: {"#{part}_conv.conv", "#{part}_conv"}) ++
      [{"block_sparse_moe", "body.mlp"}]
  end

  # The choice of experts has 8 bits, and the weights of means have no packing.
  @impl true
  def packing(path) do
    cond do
      String.ends_with?(path, "mlp.gate") -> [group_size: 64, bits: 8]
      String.ends_with?(path, ["_res.proj", "streams.proj"]) -> false
      true -> true
    end
  end

  @impl true
  def tensors(tensors, fields) do
    count = Fields.layers(fields, "num_hidden_layers")

    tensors
    |> Map.reject(fn {name, _array} -> name =~ ~r/^(model\.)?mtp/ or later?(name, count) end)
    |> Tensors.kernels()
    |> Tensors.replace(~r/self_attn\.(dt_bias|A_log)$/, &flat(&1, &2, fields))
    |> Tensors.replace(~r/_res\.proj\.weight$|streams\.proj\.weight$/, fn name, array ->
      [{name, Mlx.reshape(array, {1, :auto})}]
    end)
    |> joined()
    |> Tensors.stack_experts(%{"w1" => "gate_proj", "w2" => "down_proj", "w3" => "up_proj"})
    |> Latent.embedded(fields, Fields.size(fields, "v_head_dim"))
  end

  # Layers that predict further tokens.
  defp later?(name, count) do
    case Regex.run(~r/^model\.layers\.(\d+)\./, name) do
      [_all, layer] -> String.to_integer(layer) >= count
      nil -> false
    end
  end

  # Some files have a rate for more heads than there are.
  defp flat(name, array, fields) do
    array = Mlx.flatten(array)
    heads = Fields.size(Fields.under(fields, "linear_attn_config"), "num_heads")
    rates? = String.ends_with?(name, "A_log") and Mlx.axis_size(array, 0) > heads
    [{name, if(rates?, do: Mlx.slice(array, [0], [heads]), else: array)}]
  end

  @part ~r/^(.*self_attn\.)k_(proj|conv)\.(\w+)$/

  # Three matrices, or kernels, of the delta rule as one. Latent attention has no `k_proj`.
  defp joined(tensors) do
    Enum.reduce(tensors, tensors, fn {name, _array}, tensors ->
      with [_all, path, kind, part] <- Regex.run(@part, name),
           names = for(input <- ~w(q k v), do: "#{path}#{input}_#{kind}.#{part}"),
           true <- Enum.all?(names, &is_map_key(tensors, &1)) do
        {parts, tensors} = Map.split(tensors, names)
        Map.put(tensors, "#{path}qkv_#{kind}.#{part}", Mlx.concatenate(for name <- names, do: parts[name]))
      else
        _other -> tensors
      end
    end)
  end
end
