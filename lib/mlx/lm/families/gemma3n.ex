defmodule Mlx.LM.Families.Gemma3n do
  @moduledoc false
  # Four streams, of which each block works on one, with normalised values, inputs of each block, and keys and values that
  # the last layers take from earlier ones. In some layers only the greatest gates count.

  use Mlx.LM.Family

  alias Mlx.LM.Decoder.{AlternatingBlock, Streams}
  alias Mlx.LM.Families.{Fields, Plain, Rope, SharedKeys}

  @defaults %{
    "num_kv_shared_layers" => 15,
    "hidden_size_per_layer_input" => 256,
    "vocab_size_per_layer_input" => 262_144
  }

  @most_streams 64

  @impl true
  def config(fields) do
    fields = with_defaults(fields)
    count = Fields.layers(fields, "num_hidden_layers")
    windows = Plain.windows(fields, &(rem(&1 + 1, 5) != 0))
    eps = Fields.positive(fields, "rms_norm_eps")
    width = Fields.size(fields, "hidden_size")
    streams = streams(fields)
    size = Fields.size(fields, "hidden_size_per_layer_input")

    config =
      Plain.config(fields,
        norms: :sandwich,
        attention: [bias: false, output_bias: false, norm: {:rms, eps}, value_norm: eps, scale: 1.0],
        block: &[attention: attention(fields, windows, &1), feed_forward: feed_forward(fields, count, &1)],
        embedding_scale: :math.sqrt(width),
        layer_inputs: [
          vocabulary: Fields.size(fields, "vocab_size_per_layer_input"),
          width: width,
          layers: count,
          size: size,
          eps: eps
        ],
        streams: {Streams, width: width, count: streams},
        logit_cap: Fields.positive(fields, "final_logit_softcapping", nil),
        tied: true
      )

    active = Fields.count(fields, "altup_active_idx", 0)

    if active >= streams,
      do: Fields.refuse(fields, "altup_active_idx", "a number below #{streams}, that of the streams")

    own = [
      width: width,
      eps: eps,
      laurel: Fields.size(fields, "laurel_rank", 64),
      scaled: Fields.flag(fields, "altup_correct_scale", true),
      updates: [width: width, count: streams, active: active, eps: eps]
    ]

    blocks =
      for {{_steps, parts}, layer} <- Enum.with_index(config.blocks) do
        {_module, attention} = parts[:self_attn]
        {_module, feed_forward} = parts[:mlp]
        input = [width: width, size: size, layer: layer]
        body = own ++ [attention: attention, feed_forward: feed_forward, input: input]
        {[{:through, :body}], [body: {AlternatingBlock, body}]}
      end

    %{config | blocks: blocks}
  end

  defp streams(fields) do
    count = Fields.size(fields, "altup_num_inputs", 4)
    if count > @most_streams, do: Fields.refuse(fields, "altup_num_inputs", "at most #{@most_streams}"), else: count
  end

  defp with_defaults(fields) do
    Enum.reduce(@defaults, fields, fn {key, value}, fields -> Fields.put_new(fields, key, value) end)
  end

  defp attention(fields, windows, layer) do
    window = Enum.at(windows, layer)
    size = Plain.head_size(fields)
    base = if window, do: Fields.positive(fields, "rope_local_base_freq", 10_000.0), else: Rope.theta(fields, 1.0e6)

    [window: window, rope: Rope.read(fields, size, base: base, traditional: false, scaling: false)] ++
      SharedKeys.attention(fields, windows, layer)
  end

  defp feed_forward(fields, count, layer) do
    shares = Fields.list(fields, "activation_sparsity_pattern", count, List.duplicate(0, count))
    share = Enum.at(shares, layer)

    if not (is_number(share) and share >= 0 and share < 1) do
      Fields.refuse(fields, "activation_sparsity_pattern", "numbers from 0 to below 1")
    end

    activation = if share > 0, do: {"greatest_gelu", deviations(share)}, else: "gelu_pytorch_tanh"
    [activation: activation, bias: false, hidden: hidden(fields, count, layer)]
  end

  # So many standard deviations above the mean leave the rest of a normal distribution.
  defp deviations(share), do: :math.sqrt(2) * Mlx.to_number(Mlx.erf_inv(Mlx.array(2 * share - 1)))

  defp hidden(fields, count, layer) do
    if is_list(fields.map["intermediate_size"]) do
      size = fields |> Fields.list("intermediate_size", count, nil) |> Enum.at(layer)
      if is_integer(size) and size > 0, do: size, else: Fields.refuse(fields, "intermediate_size", "positive integers")
    else
      Fields.size(fields, "intermediate_size")
    end
  end

  @impl true
  def names do
    parts = ~w(altup laurel self_attn mlp input_layernorm post_attention_layernorm pre_feedforward_layernorm
               post_feedforward_layernorm post_per_layer_input_norm)

    [
      {"embed_tokens_per_layer", "layer_inputs.embedding"},
      {"per_layer_model_projection", "layer_inputs.projection"},
      {"per_layer_projection_norm", "layer_inputs.norm"},
      {"altup_projections", "streams.projections"},
      {"altup_unembed_projections", "streams.unembed"},
      {"per_layer_input_gate", "body.per_layer_input.gate"},
      {"per_layer_projection", "body.per_layer_input.projection"}
    ] ++ for part <- parts, do: {part, "body." <> part}
  end

  @impl true
  def tensors(tensors, fields) do
    clip = Fields.positive(fields, "altup_coef_clip", nil)

    for {name, array} <- SharedKeys.read(tensors, with_defaults(fields)), into: %{} do
      bounded? = clip != nil and name =~ ~r/\.altup\.(prediction|correction)_coefs\.weight$/
      {name, if(bounded?, do: Mlx.clip(array, -clip, clip), else: array)}
    end
  end

  # MLX's class has matrices of keys and values in layers that take those of others, too. With a cache nobody reads
  # them: rows of the queries stand there.
  @impl true
  def saved(path, array, fields) do
    fields = with_defaults(fields)

    case Regex.run(~r/^(model\.layers\.(\d+)\..*self_attn)\.q_(proj|norm)\.(\w+)$/, path) do
      [_all, attention, layer, kind, part] ->
        first = SharedKeys.first(fields, Fields.layers(fields, "num_hidden_layers"))
        own = [{path, array}]
        if String.to_integer(layer) < first, do: own, else: own ++ unread(kind, attention, part, array, fields)

      nil ->
        [{path, array}]
    end
  end

  defp unread("norm", attention, part, array, _fields), do: [{"#{attention}.k_norm.#{part}", array}]

  defp unread("proj", attention, part, array, fields) do
    shared = Fields.size(fields, "num_key_value_heads")
    rows = div(Mlx.axis_size(array, 0) * shared, Fields.size(fields, "num_attention_heads"))
    [first, _others] = Mlx.split(array, [rows])
    for name <- ~w(k v), do: {"#{attention}.#{name}_proj.#{part}", first}
  end
end
