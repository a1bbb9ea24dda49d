defmodule Mlx.LM.Families.DeepseekV41 do
  @moduledoc false
  # As DeepseekV4, with entries and choices that several layers share, keys that are rounded, parts that take of the streams by
  # the connection before theirs, and no experts that a token alone chooses. Memories of n-grams are not there.

  use Mlx.LM.Family

  alias Mlx.LM.Decoder.{DelayedStreams, HyperBlock}
  alias Mlx.LM.Families.{DeepseekV4, Fields, Plain}

  @defaults %{
    "rms_norm_eps" => 1.0e-20,
    "num_hidden_layers" => 40,
    "q_lora_rank" => 1280,
    "qk_rope_head_dim" => 64,
    "index_n_heads" => 32,
    "num_hash_layers" => 0,
    "hidden_size" => 5120,
    "vocab_size" => 129_280,
    "num_attention_heads" => 64,
    "moe_intermediate_size" => 2304,
    "n_routed_experts" => 384,
    "num_experts_per_tok" => 6
  }

  @impl true
  def config(fields) do
    fields = Enum.reduce(@defaults, fields, fn {key, value}, fields -> Fields.put_new(fields, key, value) end)
    fields = DeepseekV4.with_defaults(fields)
    if fields.map["engram_layer_ids"] not in [nil, []], do: Fields.refuse(fields, "engram_layer_ids", "no layers")
    eps = Fields.positive(fields, "rms_norm_eps")
    width = Fields.size(fields, "hidden_size")
    connection = DeepseekV4.connection(fields)
    layers = layers(fields)
    ropes = DeepseekV4.ropes(fields)

    Plain.config(fields,
      norm: {:rms, eps},
      norms: :through,
      block: fn number ->
        body = [
          width: width,
          norm: {:rms, eps},
          connection: connection,
          attention: attention(fields, Enum.at(layers, number), ropes),
          experts: experts(fields),
          delayed: true
        ]

        [mixers: [body: {HyperBlock, body}]]
      end,
      streams: {DelayedStreams, count: connection[:count]}
    )
  end

  # For each layer the positions of an entry, 0 for one with a window alone, and what it does: makes entries, makes keys of
  # these, chooses entries, chooses candidates.
  defp layers(fields) do
    count = Fields.layers(fields, "num_hidden_layers")
    ratios = ratios(fields, count)
    [makers, choosers] = for key <- ~w(kv_source_layer_ids index_source_layer_ids), do: numbers(fields, key)
    source = fields |> Fields.number("candidate_source_layer_id", -1) |> trunc()
    blocks? = Fields.count(fields, "candidate_topk_blocks", 2048) > 0

    layers =
      for {ratio, number} <- Enum.with_index(ratios) do
        makes? = ratio > 0 and number in makers
        chooses? = ratio > 0 and number in choosers

        %{
          ratio: ratio,
          makes?: makes?,
          chooses?: chooses?,
          keys?: number in makers,
          candidates?: blocks? and number == source
        }
      end

    check!(fields, layers)
    layers
  end

  defp ratios(fields, count) do
    case fields.map["compress_ratios"] || [] do
      ratios when is_list(ratios) and length(ratios) <= 4096 ->
        if Enum.all?(ratios, &(&1 in 0..4096)),
          do: Enum.take(ratios ++ List.duplicate(0, count), count),
          else: Fields.refuse(fields, "compress_ratios", "0 to 4096 positions for each layer")

      _other ->
        Fields.refuse(fields, "compress_ratios", "a list of at most 4096 numbers")
    end
  end

  defp numbers(fields, key) do
    case fields.map[key] || [] do
      numbers when is_list(numbers) and length(numbers) <= 4096 -> numbers
      _other -> Fields.refuse(fields, key, "a list of numbers of layers")
    end
  end

  # The entries that a layer sees, those whose keys were compared, and its own stand for as many positions.
  defp check!(fields, layers) do
    Enum.reduce(layers, {nil, nil}, fn layer, {made, compared} ->
      made = if layer.makes?, do: layer.ratio, else: made
      compared = if layer.makes? and layer.chooses?, do: layer.ratio, else: compared

      if layer.ratio > 0 and made != nil and compared != nil and Enum.uniq([layer.ratio, made, compared]) != [made] do
        expected = "the number of the layer that makes its entries, and of the one whose entries are compared, for each"
        Fields.refuse(fields, "compress_ratios", expected)
      end

      {made, compared}
    end)
  end

  defp attention(fields, %{ratio: ratio} = layer, {main, compressed}) do
    width = Fields.size(fields, "hidden_size")
    size = Fields.size(fields, "head_dim")
    norm = {:rms, Fields.positive(fields, "rms_norm_eps")}
    rope = if ratio > 0, do: compressed, else: main

    compressor = [width: width, size: size, ratio: ratio, norm: norm, position_bias: false]

    Keyword.merge(DeepseekV4.attention(fields, rope),
      shared: if(ratio > 0, do: true, else: :window),
      compressor: if(layer.makes?, do: compressor),
      indexer: if(layer.chooses?, do: indexer(fields, layer, rope, norm))
    )
  end

  defp indexer(fields, layer, rope, norm) do
    shared = fields |> DeepseekV4.indexer(rope) |> Keyword.delete(:pool)
    blocks = {Fields.count(fields, "candidate_topk_blocks", 2048), Fields.size(fields, "candidate_block_size", 8)}

    shared ++
      [
        size: Fields.size(fields, "index_head_dim", 128),
        ratio: layer.ratio,
        entry_size: if(layer.keys?, do: Fields.size(fields, "head_dim")),
        norm: norm,
        candidates: if(layer.candidates?, do: blocks)
      ]
  end

  defp experts(fields) do
    limit = Fields.number(fields, "swiglu_limit", 10.0)
    top = Fields.size(fields, "num_experts_per_tok")

    Keyword.merge(DeepseekV4.experts(fields, false),
      logit_scale: 1 / Fields.positive(fields, "gate_temp", 1.0),
      normalize: top > 1 and Fields.flag(fields, "norm_topk_prob", true),
      activation: if(limit > 0, do: {"limited_silu", limit}, else: "silu"),
      shared: Fields.size(fields, "moe_intermediate_size")
    )
  end

  @impl true
  def names do
    for(
      part <- ~w(q_b_proj weights_proj k_proj k_norm),
      name = "self_attn.indexer.#{part}",
      do: {name, "body.#{name}"}
    ) ++
      [
        {"mlp.experts.switch_mlp", "body.mlp.switch_mlp"},
        {"attn.indexer.wk", "body.self_attn.indexer.k_proj"}
      ] ++ DeepseekV4.names()
  end

  # The router and the choice of entries as in MLX.
  @impl true
  def packing(path), do: not String.ends_with?(path, "mlp.gate")

  # Parts for pictures, layers that predict further tokens, and what routes pictures.
  @impl true
  def tensors(tensors, fields) do
    tensors
    |> Map.reject(fn {name, _array} -> name =~ ~r/^(vision|aligner|mtp)\.|^image_|\.engram\.|\.gate\.bias_vl$/ end)
    |> DeepseekV4.tensors(fields)
  end
end
