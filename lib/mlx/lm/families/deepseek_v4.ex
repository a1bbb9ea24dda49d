defmodule Mlx.LM.Families.DeepseekV4 do
  @moduledoc false
  # Several residual streams; attention to a window and to compressed entries, of which an indexer chooses in every other
  # layer; experts that the first layers choose by the token alone. Layers that predict further tokens are left out.
  #
  # Files have the names of Hugging Face's class, or those of DeepSeek.

  use Mlx.LM.Family

  alias Mlx.LM.Decoder.{HyperBlock, HyperStreams, RoPE}
  alias Mlx.LM.Families.{Fields, Plain, Rope, Tensors}

  @window "sliding_attention"
  @chosen "compressed_sparse_attention"
  @all "heavily_compressed_attention"
  @rates %{@window => nil, @chosen => 4, @all => 128}

  # A matrix of so many streams by as many is normalised turn by turn.
  @most 64

  @defaults %{
    "head_dim" => 512,
    "hc_mult" => 4,
    "hc_sinkhorn_iters" => 20,
    "hc_eps" => 1.0e-6,
    "rms_norm_eps" => 1.0e-6,
    "sliding_window" => 128,
    "tie_word_embeddings" => false,
    "max_position_embeddings" => 1_048_576
  }

  @impl true
  def config(fields) do
    fields = with_defaults(fields)
    eps = Fields.positive(fields, "rms_norm_eps")
    width = Fields.size(fields, "hidden_size")
    connection = connection(fields)
    ropes = ropes(fields)
    count = Fields.layers(fields, "num_hidden_layers")
    kinds = kinds(fields, count)
    by_token = by_token(fields, count)

    bodies =
      for {kind, by_token?} <- Enum.zip(kinds, by_token) do
        {HyperBlock,
         width: width,
         norm: {:rms, eps},
         connection: connection,
         attention: attention(fields, kind, rate(fields, kind), ropes),
         experts:
           experts(fields, by_token?) ++ [activation: {"limited_silu", Fields.positive(fields, "swiglu_limit", 10.0)}]}
      end

    Plain.config(fields,
      norm: {:rms, eps},
      norms: :through,
      block: &[mixers: [body: Enum.at(bodies, &1)]],
      streams: {HyperStreams, Keyword.delete(connection, :turns)}
    )
  end

  @doc "The fields with what they need not say."
  @spec with_defaults(Fields.t()) :: Fields.t()
  def with_defaults(fields) do
    Enum.reduce(@defaults, fields, fn {key, value}, fields -> Fields.put_new(fields, key, value) end)
  end

  @doc "The options of `Mlx.LM.Decoder.HyperConnection`."
  @spec connection(Fields.t()) :: keyword()
  def connection(fields) do
    [
      turns: at_most(fields, "hc_sinkhorn_iters"),
      width: Fields.size(fields, "hidden_size"),
      count: at_most(fields, "hc_mult"),
      norm_eps: Fields.positive(fields, "rms_norm_eps"),
      eps: Fields.positive(fields, "hc_eps")
    ]
  end

  defp at_most(fields, key) do
    size = Fields.size(fields, key)
    if size <= @most, do: size, else: Fields.refuse(fields, key, "at most #{@most}")
  end

  # The kinds of attention: by names, or by the positions of an entry, of which files list more than there are layers.
  defp kinds(fields, count) do
    case {fields.map["layer_types"], fields.map["compress_ratios"]} do
      {nil, [_ | _] = ratios} when length(ratios) >= count and length(ratios) <= 4096 ->
        for ratio <- Enum.take(ratios, count) do
          Enum.find([@window, @chosen, @all], &((rate(fields, &1) || 0) == ratio)) ||
            Fields.refuse(
              fields,
              "compress_ratios",
              "0, #{rate(fields, @chosen)} or #{rate(fields, @all)} for each layer"
            )
        end

      {nil, nil} ->
        for layer <- 0..(count - 1), do: if(layer > 1 and rem(layer, 2) == 1, do: @chosen, else: @all)

      {nil, _other} ->
        Fields.refuse(fields, "compress_ratios", "a list of at least #{count} numbers")

      {_names, _ratios} ->
        Plain.layer_types(fields, [@window, @chosen, @all])
    end
  end

  defp rate(_fields, @window), do: nil

  defp rate(fields, kind) do
    rates = Fields.under(fields, "compress_rates")
    key = if kind == @chosen, do: "compress_rate_csa", else: "compress_rate_hca"
    own = Fields.size(fields, key, nil) || (rates && Fields.size(rates, kind, nil)) || @rates[kind]

    if own in 2..4096,
      do: own,
      else: Fields.refuse(rates || fields, if(rates, do: kind, else: key), "2 to 4096 positions")
  end

  # Whether the token alone says which experts it takes.
  defp by_token(fields, count) do
    case Fields.list(fields, "mlp_layer_types", count, nil) do
      nil ->
        first = Fields.count(fields, "num_hash_layers", 3)
        for layer <- 0..(count - 1), do: layer < first

      names ->
        if Enum.all?(names, &(&1 in ["hash_moe", "moe"])),
          do: Enum.map(names, &(&1 == "hash_moe")),
          else: Fields.refuse(fields, "mlp_layer_types", ~s("hash_moe" or "moe" for each layer))
    end
  end

  @doc "The rotation of layers with a window alone, and that of others, by which keys and queries do not grow."
  @spec ropes(Fields.t()) :: {RoPE.t(), RoPE.t()}
  def ropes(fields) do
    size = Fields.size(fields, "head_dim")
    dims = Fields.size(fields, "qk_rope_head_dim", nil) || Rope.partial(fields, size, 1 / 8)
    nested = Fields.under(fields, "rope_parameters")
    theta = Fields.positive(fields, "compress_rope_theta", 160_000.0)

    if nested != nil and is_map(nested.map["compress"]) do
      plain = fields |> Fields.put_new("rope_theta", 10_000.0) |> Map.update!(:map, &Map.delete(&1, "rope_scaling"))
      {main, compress} = {Fields.under(nested, "main") || plain, Fields.under(nested, "compress")}
      base = Fields.positive(compress, "rope_theta", theta)
      own = %{plain | map: Map.put(plain.map, "rope_parameters", compress.map)}
      {rope(plain, size, dims, base: Rope.theta(main), scaling: false), rope(own, size, dims, base: base)}
    else
      {rope(fields, size, dims, base: Rope.theta(fields), scaling: false), rope(fields, size, dims, base: theta)}
    end
  end

  defp rope(fields, size, dims, options) do
    rope = Rope.read(fields, size, [dims: dims, traditional: true] ++ options)
    waves = rope.frequencies || for pair <- 0..(div(dims, 2) - 1), do: rope.base ** (2 * pair / dims) / rope.scale
    %{rope | frequencies: waves, scale: 1.0, factor: 1.0, dynamic: nil}
  end

  # A step of which is a window of so many positions.
  defp slower(%RoPE{frequencies: waves} = rope, ratio), do: %{rope | frequencies: Enum.map(waves, &(&1 / ratio))}

  defp attention(fields, kind, rate, {main, compressed}) do
    width = Fields.size(fields, "hidden_size")
    norm = {:rms, Fields.positive(fields, "rms_norm_eps")}
    rope = if rate, do: compressed, else: main

    pool = fn size ->
      [width: width, size: size, ratio: rate, overlap: kind == @chosen, norm: norm, rope: slower(rope, rate)]
    end

    attention(fields, rope) ++
      [
        compressor: if(rate, do: pool.(Fields.size(fields, "head_dim"))),
        indexer:
          if(kind == @chosen, do: indexer(fields, rope) ++ [pool: pool.(Fields.size(fields, "index_head_dim", 128))])
      ]
  end

  @doc "The options of `Mlx.LM.Decoder.CompressedAttention` with this rotation, but for entries."
  @spec attention(Fields.t(), RoPE.t()) :: keyword()
  def attention(fields, rope) do
    [
      width: Fields.size(fields, "hidden_size"),
      heads: Fields.size(fields, "num_attention_heads"),
      head_size: Fields.size(fields, "head_dim"),
      query_latent: Fields.size(fields, "q_lora_rank", 1024),
      groups: Fields.size(fields, "o_groups", 8),
      output_latent: Fields.size(fields, "o_lora_rank", 1024),
      window: Fields.size(fields, "sliding_window"),
      norm: {:rms, Fields.positive(fields, "rms_norm_eps")},
      rope: rope
    ]
  end

  @doc "The options of `Mlx.LM.Decoder.EntryIndexer` with this rotation, but for its own entries."
  @spec indexer(Fields.t(), RoPE.t()) :: keyword()
  def indexer(fields, rope) do
    size = Fields.size(fields, "index_head_dim", 128)
    if size < rope.dims, do: Fields.refuse(fields, "index_head_dim", "at least the #{rope.dims} features that rotate")

    [
      width: Fields.size(fields, "hidden_size"),
      query_latent: Fields.size(fields, "q_lora_rank", 1024),
      heads: Fields.size(fields, "index_n_heads", 64),
      top: Fields.size(fields, "index_topk", 512),
      rope: rope
    ]
  end

  @scores %{"sqrtsoftplus" => :sqrt_softplus, "softmax" => :softmax, "sigmoid" => :sigmoid}

  @doc "The options of the layer of experts, which the token alone chooses or not, but for their activation."
  @spec experts(Fields.t(), boolean()) :: keyword()
  def experts(fields, by_token?) do
    hidden = Fields.size(fields, "moe_intermediate_size")
    scores = Fields.choice(fields, "scoring_func", Map.keys(@scores), "sqrtsoftplus")

    [
      width: Fields.size(fields, "hidden_size"),
      experts: Fields.size(fields, "n_routed_experts"),
      top: Fields.size(fields, "num_experts_per_tok"),
      hidden: hidden,
      scores: @scores[scores],
      correction: not by_token?,
      table: if(by_token?, do: Fields.size(fields, "vocab_size")),
      normalize: true,
      scale: Fields.number(fields, "routed_scaling_factor", 1.5),
      shared: hidden * Fields.size(fields, "n_shared_experts", 1)
    ]
  end

  @impl true
  def names do
    hugging_face = [
      {"model.layers", "model.layers"},
      {"model.norm", "model.norm"},
      {"model.hc_head", "model.streams"},
      {"self_attn", "body.self_attn"},
      {"mlp", "body.mlp"},
      {"mlp.shared_experts", "body.mlp.shared_expert"},
      {"mlp.gate.e_score_correction_bias", "body.mlp.e_score_correction_bias"},
      {"mlp.gate.tid2eid", "body.mlp.tid2eid"},
      {"self_attn.compressor.indexer.scorer.weights_proj", "body.self_attn.indexer.weights_proj"},
      {"self_attn.compressor.indexer.q_b_proj", "body.self_attn.indexer.q_b_proj"}
      | for(part <- ~w(input_layernorm post_attention_layernorm attn_hc ffn_hc), do: {part, "body.#{part}"}) ++
          for(
            part <- ~w(kv_proj gate_proj position_bias kv_norm),
            do: {"self_attn.compressor.indexer.#{part}", "body.self_attn.indexer.pool.#{part}"}
          )
    ]

    hugging_face ++ Enum.flat_map(original(), &saved_as/1) ++ original()
  end

  # A model is saved with the names of Hugging Face's class.
  defp saved_as({_theirs, "body." <> rest = ours}),
    do: [{String.replace(rest, "shared_expert.", "shared_experts."), ours}]

  defp saved_as({_theirs, "model.streams." <> part = ours}), do: [{"model.hc_head." <> part, ours}]
  defp saved_as({_theirs, ours}) when ours in ["model.embed_tokens", "lm_head"], do: [{ours, ours}]
  defp saved_as(_pair), do: []

  @pool [{"wkv", "kv_proj"}, {"wgate", "gate_proj"}, {"ape", "position_bias"}, {"norm", "kv_norm"}]

  defp original do
    attention = [
      {"wq_a", "q_a_proj"},
      {"q_norm", "q_a_norm"},
      {"wq_b", "q_b_proj"},
      {"wkv", "kv_proj"},
      {"wo_a", "o_a_proj"},
      {"wo_b", "o_b_proj"},
      {"attn_sink", "sinks"},
      {"indexer.wq_b", "indexer.q_b_proj"}
    ]

    [
      {"embed", "model.embed_tokens"},
      {"layers", "model.layers"},
      {"norm", "model.norm"},
      {"head", "lm_head"},
      {"attn", "body.self_attn"},
      {"attn_norm", "body.input_layernorm"},
      {"ffn_norm", "body.post_attention_layernorm"},
      {"ffn", "body.mlp"},
      {"ffn.gate.bias", "body.mlp.e_score_correction_bias"},
      {"ffn.gate.tid2eid", "body.mlp.tid2eid"},
      {"ffn.shared_experts.w1", "body.mlp.shared_expert.gate_proj"},
      {"ffn.shared_experts.w2", "body.mlp.shared_expert.down_proj"},
      {"ffn.shared_experts.w3", "body.mlp.shared_expert.up_proj"}
    ] ++
      for({theirs, ours} <- attention, do: {"attn.#{theirs}", "body.self_attn.#{ours}"}) ++
      for({theirs, ours} <- @pool, do: {"attn.compressor.#{theirs}", "body.self_attn.compressor.#{ours}"}) ++
      for({theirs, ours} <- @pool, do: {"attn.indexer.compressor.#{theirs}", "body.self_attn.indexer.pool.#{ours}"}) ++
      for(part <- ~w(fn base scale), site <- ~w(attn ffn), do: {"hc_#{site}_#{part}", "body.#{site}_hc.#{part}"}) ++
      for part <- ~w(fn base scale), do: {"hc_head_#{part}", "model.streams.hc_#{part}"}
  end

  # What says where attention goes, and how streams mix, is not quantized.
  @impl true
  def packing(path), do: not String.ends_with?(path, ["mlp.gate", "indexer.weights_proj"])

  @impl true
  def tensors(tensors, fields) do
    groups = Fields.size(fields, "o_groups", 8)

    tensors
    |> Map.reject(fn {name, _array} -> name =~ ~r/(^|\.)mtp\./ end)
    |> Tensors.stack_experts(%{"w1" => "gate_proj", "w2" => "down_proj", "w3" => "up_proj"})
    |> Tensors.replace(~r/\.mlp\.experts\.(gate_up_proj|down_proj)$/, &Tensors.stacks/2)
    |> Tensors.replace(~r/\.o_a_proj\.(weight|scales|biases)$/, fn name, array -> [{name, by_groups(array, groups)}] end)
  end

  defp by_groups(%Mlx.Array{shape: {rows, columns}} = array, groups) when rem(rows, groups) == 0 do
    Mlx.reshape(array, {groups, div(rows, groups), columns})
  end

  defp by_groups(array, _groups), do: array
end
