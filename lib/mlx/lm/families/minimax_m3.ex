defmodule Mlx.LM.Families.MiniMaxM3 do
  @moduledoc false
  # Attention to chosen blocks of positions in some layers, experts of GPT OSS' activation with one that all tokens take,
  # scored by a sigmoid with a bias for the choice. Weights of normalisations are one less in files.

  use Mlx.LM.Family

  alias Mlx.LM.Decoder.Experts
  alias Mlx.LM.Families.{Fields, Plain, Rope, Tensors}

  @slope 1.702

  @impl true
  def config(fields) do
    fields = flat(fields)
    size = Plain.head_size(fields)
    kind = if Fields.flag(fields, "use_gemma_norm", true), do: :rms_plus_one, else: :rms
    norm = {kind, Fields.positive(fields, "rms_norm_eps", 1.0e-6)}
    dims = Fields.size(fields, "rotary_dim", nil) || Rope.partial(fields, size, 0.5)
    theta = Rope.theta(fields, 5_000_000.0)
    rope = Rope.read(fields, size, dims: dims, base: theta, traditional: false)
    count = Fields.layers(fields, "num_hidden_layers")
    experts = of_layers(fields, "mlp_layer_types", "sparse", "moe_layer_freq", count)
    sparse = of_layers(fields, "layer_types", "full_attention", "sparse_attention_freq", count, &not/1)
    indexer = if Fields.has?(fields, "index_block_size"), do: indexer(fields, norm, dims, theta)
    activation = activation(fields)

    Plain.config(fields,
      norm: norm,
      attention:
        [bias: false, output_bias: false, rope: rope] ++
          if(Fields.flag(fields, "use_qk_norm", true), do: [norm: norm], else: []),
      block: fn layer ->
        if(indexer != nil and Enum.at(sparse, layer), do: [attention: [indexer: indexer]], else: []) ++
          if Enum.at(experts, layer), do: [feed_forward: {Experts, experts(fields, activation)}], else: []
      end,
      feed_forward: [
        hidden: Fields.size(fields, "dense_intermediate_size", 12_288),
        bias: false,
        activation: activation
      ],
      tied: Fields.flag(fields, "tie_word_embeddings", false)
    )
  end

  # The first files have some fields one level deeper, and by other names.
  @nested %{
    "sparse_num_index_heads" => "index_n_heads",
    "sparse_index_dim" => "index_head_dim",
    "sparse_block_size" => "index_block_size",
    "sparse_topk_blocks" => "index_topk_blocks",
    "sparse_local_block" => "index_local_blocks",
    "sparse_attention_freq" => "sparse_attention_freq"
  }

  defp flat(fields) do
    case Fields.under(fields, "sparse_attention_config") do
      nil ->
        fields

      nested ->
        named = for {theirs, ours} <- @nested, Fields.has?(nested, theirs), into: %{}, do: {ours, nested.map[theirs]}
        %{fields | map: Map.merge(fields.map, named)}
    end
  end

  # What a list says of each layer, by names or by numbers; without one it is true of all.
  defp of_layers(fields, key, name, numbers, count, change \\ & &1) do
    case {Fields.list(fields, key, count, nil), Fields.list(fields, numbers, count, nil)} do
      {nil, nil} -> List.duplicate(true, count)
      {nil, list} -> Enum.map(list, &(&1 not in [0, false]))
      {names, _list} -> Enum.map(names, &change.(&1 == name))
    end
  end

  defp activation(fields) do
    if Fields.number(fields, "swiglu_alpha", @slope) != @slope, do: Fields.refuse(fields, "swiglu_alpha", "#{@slope}")
    {"clipped_swiglu", Fields.positive(fields, "swiglu_limit", 7.0)}
  end

  defp indexer(fields, norm, dims, theta) do
    {heads, size} = {Fields.size(fields, "index_n_heads"), Fields.size(fields, "index_head_dim")}
    queries = Fields.size(fields, "num_attention_heads")
    if rem(queries, heads) != 0, do: Fields.refuse(fields, "index_n_heads", "a divisor of the #{queries} heads")

    [
      width: Fields.size(fields, "hidden_size"),
      heads: heads,
      size: size,
      block: Fields.size(fields, "index_block_size"),
      top: Fields.size(fields, "index_topk_blocks"),
      near: Fields.count(fields, "index_local_blocks", 1),
      norm: norm,
      rope: Rope.read(fields, size, dims: min(dims, size), base: theta, traditional: false)
    ]
  end

  defp experts(fields, activation) do
    [
      width: Fields.size(fields, "hidden_size"),
      experts: Fields.size(fields, "num_local_experts"),
      top: Fields.size(fields, "num_experts_per_tok"),
      hidden: Fields.size(fields, "intermediate_size"),
      activation: activation,
      scores: :sigmoid,
      correction: true,
      normalize: true,
      scale: Fields.number(fields, "routed_scaling_factor", 2.0),
      shared: Fields.size(fields, "shared_intermediate_size", 3072)
    ]
  end

  @impl true
  def names do
    indexer = for part <- ~w(q_proj k_proj q_norm k_norm), do: {"self_attn.index_#{part}", "self_attn.indexer.#{part}"}

    experts =
      for part <- ~w(gate switch_mlp experts e_score_correction_bias), do: {"block_sparse_moe.#{part}", "mlp.#{part}"}

    # Some files have layers without experts under this name, too.
    plain = for part <- ~w(gate up down), do: {"block_sparse_moe.#{part}_proj", "mlp.#{part}_proj"}
    same = for part <- ~w(gate up down), do: {"mlp.#{part}_proj", "mlp.#{part}_proj"}
    [{"block_sparse_moe.shared_experts", "mlp.shared_expert"}] ++ indexer ++ experts ++ same ++ plain
  end

  # The choice of experts has 8 bits.
  @impl true
  def packing(path), do: if(String.ends_with?(path, "mlp.gate"), do: [group_size: 64, bits: 8], else: true)

  @impl true
  def tensors(tensors, _fields) do
    Tensors.stack_experts(tensors, %{"w1" => "gate_proj", "w2" => "down_proj", "w3" => "up_proj"})
  end
end
