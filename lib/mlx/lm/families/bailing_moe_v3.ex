defmodule Mlx.LM.Families.BailingMoEV3 do
  @moduledoc false
  # BailingHybrid with the delta rule in the layers with linear attention, and a gate for each head of latent attention.

  use Mlx.LM.Family

  alias Mlx.LM.Decoder.FeatureDelta
  alias Mlx.LM.Families.{BailingHybrid, BailingMoELinear, Fields, Tensors}

  @defaults %{
    "rms_norm_eps" => 1.0e-6,
    "head_dim" => 128,
    "score_function" => "sigmoid",
    "moe_router_enable_expert_bias" => true,
    "norm_topk_prob" => true,
    "tie_word_embeddings" => false
  }

  @impl true
  def config(fields) do
    fields = Enum.reduce(@defaults, fields, fn {key, value}, fields -> Fields.put_new(fields, key, value) end)

    # Others have no file that could be compared.
    for key <- ~w(kda_safe_gate no_kda_lora rope_interleave),
        not Fields.flag(fields, key, true),
        do: Fields.refuse(fields, key, "true")

    delta = {FeatureDelta, delta(fields)}

    BailingMoELinear.config(fields,
      global: BailingHybrid.latent(fields, bias: false, gate: :heads),
      linear: fn _layer -> delta end,
      experts: [dropped: :neg_infinity, normalize: true]
    )
  end

  defp delta(fields) do
    [
      width: Fields.size(fields, "hidden_size"),
      heads: Fields.size(fields, "num_attention_heads"),
      size: Fields.size(fields, "head_dim"),
      kernel: Fields.size(fields, "short_conv_kernel_size", 4),
      eps: Fields.positive(fields, "rms_norm_eps"),
      whole: [:f, :g],
      bound: Fields.number(fields, "kda_lower_bound", -5.0)
    ]
  end

  @impl true
  def names do
    convolutions = for part <- ~w(q k v), do: {"attention.#{part}_conv1d", "self_attn.#{part}_conv"}

    named =
      Enum.reject(BailingMoELinear.names(), fn {_theirs, ours} ->
        ours in ["mlp.gate", "self_attn.o_proj", "self_attn"]
      end)

    # The output is called otherwise in latent attention.
    named ++ convolutions ++ [{"attention.dense", "self_attn.dense"}, {"attention", "self_attn"}]
  end

  # As in MLX, and what is made of one matrix not.
  @kept ~w(q_a_proj q_b_proj kv_a_proj_with_mqa embed_q unembed_out b_proj)

  @impl true
  def packing(path) do
    path not in ["model.embed_tokens", "lm_head"] and
      not String.ends_with?(path, ["mlp.gate" | Enum.map(@kept, &("self_attn." <> &1))])
  end

  @impl true
  def tensors(tensors, fields) do
    tensors
    |> Map.new(fn {name, array} -> {String.replace(name, ".self_attn.dense.", ".self_attn.o_proj."), array} end)
    |> BailingHybrid.tensors(fields)
    |> Tensors.kernels()
  end

  # Latent attention has the output `dense`; the delta rule has `o_proj`.
  @impl true
  def saved(path, array, fields) do
    with [_all, layer] <- Regex.run(~r/^model\.layers\.(\d+)\.self_attn\.o_proj\./, path),
         true <- BailingMoELinear.global?(fields, String.to_integer(layer)) do
      [{String.replace(path, ".o_proj.", ".dense."), array}]
    else
      _other -> [{path, array}]
    end
  end
end
