defmodule Mlx.LM.Families.Plain do
  @moduledoc """
  The configuration of a decoder as Llama's is made, with what is different. Most families are this with a few lines.
  """

  alias Mlx.LM.Decoder.{Attention, Config, GatedFeedForward}
  alias Mlx.LM.Families.{Fields, Rope}

  @norms %{
    pre:
      {[[%{before: :input_layernorm, part: :self_attn}], [%{before: :post_attention_layernorm, part: :mlp}]],
       [:input_layernorm, :post_attention_layernorm]},
    post:
      {[[%{part: :self_attn, after: :post_attention_layernorm}], [%{part: :mlp, after: :post_feedforward_layernorm}]],
       [:post_attention_layernorm, :post_feedforward_layernorm]},
    sandwich:
      {[
         [%{before: :input_layernorm, part: :self_attn, after: :post_attention_layernorm}],
         [%{before: :pre_feedforward_layernorm, part: :mlp, after: :post_feedforward_layernorm}]
       ], [:input_layernorm, :post_attention_layernorm, :pre_feedforward_layernorm, :post_feedforward_layernorm]},
    parallel:
      {[[%{before: :input_layernorm, part: :self_attn}, %{before: :input_layernorm, part: :mlp}]], [:input_layernorm]},
    parallel_pre:
      {[[%{before: :input_layernorm, part: :self_attn}, %{before: :post_attention_layernorm, part: :mlp}]],
       [:input_layernorm, :post_attention_layernorm]},
    parallel_norm: {[[%{before: :norm, part: :self_attn}, %{before: :norm, part: :mlp}]], [:norm]},
    alone: {[[%{before: :norm, part: :self_attn}]], [:norm]},
    through: {[{:through, :self_attn}], []}
  }

  @doc """
  The configuration of these fields.

  Options say what is different from Llama:

    * `:norm` - the kind of all normalisations, default `{:rms, rms_norm_eps}`
    * `:norms` - where they stand: `:pre` (before each part), `:post` (after it), `:sandwich` (both), `:parallel` (one
      before both parts, which are added together), `:parallel_pre` (the same with one for each), `:parallel_norm` (one
      for both that is called `norm`), `:alone` (one before the mixer, and no feed-forward layer), or `:through`
      (the mixer is the whole block)
    * `:norm_kinds` - the kinds of single ones by their names, a keyword list
    * `:attention` - options of `Mlx.LM.Decoder.Attention`
    * `:feed_forward` - options of `Mlx.LM.Decoder.GatedFeedForward`, or `{module, options}`
    * `:mixers` - the mixers, which are called side by side: a keyword list of `name: {module, options}`, or
      `name: :attention` for the attention of the options; default `[self_attn: :attention]`
    * `:block` - a function of the number of a block that gives `:attention`, `:feed_forward`, `:mixers` and `:norms` of
      this one, such as `&if(rem(&1, 4) == 3, do: [], else: [mixers: [linear_attn: {GatedDelta, options}]])`
    * `:residual_scale` - a factor of what each part adds
    * those of `Mlx.LM.Decoder.Config`
  """
  @spec config(Fields.t(), keyword()) :: Config.t()
  def config(fields, different \\ []) do
    norm = Keyword.get_lazy(different, :norm, fn -> {:rms, Fields.positive(fields, "rms_norm_eps")} end)

    {own, others} =
      Keyword.split(different, [:norm, :norms, :norm_kinds, :attention, :feed_forward, :mixers, :block, :residual_scale])

    struct!(
      %Config{
        vocabulary: Fields.size(fields, "vocab_size"),
        width: Fields.size(fields, "hidden_size"),
        context_length: Fields.size(fields, "max_position_embeddings", 4096),
        tied: Fields.flag(fields, "tie_word_embeddings", true),
        norm: norm,
        blocks: for(index <- 0..(Fields.layers(fields, "num_hidden_layers") - 1), do: block(fields, index, norm, own))
      },
      others
    )
  end

  defp block(fields, index, norm, different) do
    this = if fun = different[:block], do: fun.(index), else: []
    {steps, norms} = Map.fetch!(@norms, this[:norms] || different[:norms] || :pre)
    mixers = this[:mixers] || different[:mixers] || [self_attn: :attention]
    attention = Keyword.merge(different[:attention] || [], this[:attention] || [])
    feed_forward = this[:feed_forward] || different[:feed_forward] || []
    steps = steps |> with_mixers(Keyword.keys(mixers)) |> scaled(different[:residual_scale])

    {steps,
     for({name, mixer} <- mixers, do: {name, mixer(fields, mixer, attention)}) ++
       if(fed?(steps), do: [mlp: feed_forward(fields, feed_forward)], else: []) ++
       for(name <- norms, do: {name, {:norm, different[:norm_kinds][name] || norm}})}
  end

  defp with_mixers([{:through, :self_attn}], names), do: for(name <- names, do: {:through, name})

  defp with_mixers(steps, names) do
    for branches <- steps do
      Enum.flat_map(branches, fn
        %{part: :self_attn} = branch -> for name <- names, do: %{branch | part: name}
        branch -> [branch]
      end)
    end
  end

  defp fed?(steps), do: Enum.any?(List.flatten(steps), &match?(%{part: :mlp}, &1))

  defp mixer(fields, :attention, attention), do: {Attention, attention(fields, attention)}
  defp mixer(_fields, {module, options}, _attention), do: {module, options}

  defp scaled(steps, nil), do: steps
  defp scaled(steps, scale), do: for(branches <- steps, do: Enum.map(branches, &Map.put(&1, :scale, scale)))

  @doc "The options of `Mlx.LM.Decoder.Attention` for these fields, with what is different."
  @spec attention(Fields.t(), keyword()) :: keyword()
  def attention(fields, different) do
    heads = Fields.size(fields, "num_attention_heads")
    width = Fields.size(fields, "hidden_size")
    head_size = different[:head_size] || head_size(fields)
    bias = Keyword.get_lazy(different, :bias, fn -> Fields.flag(fields, "attention_bias", false) end)

    [
      width: width,
      heads: heads,
      key_value_heads: key_value_heads(fields, heads),
      head_size: head_size,
      bias: bias,
      output_bias: bias
    ]
    |> Keyword.merge(different)
    |> Keyword.put_new_lazy(:rope, fn -> Rope.read(fields, head_size) end)
  end

  @doc "The heads of keys and values, of which there are so many for queries."
  @spec key_value_heads(Fields.t(), pos_integer()) :: pos_integer()
  def key_value_heads(fields, heads) do
    shared = Fields.size(fields, "num_key_value_heads", heads)
    if rem(heads, shared) != 0, do: Fields.refuse(fields, "num_key_value_heads", "a divisor of the #{heads} heads")
    shared
  end

  @doc "The features of a head."
  @spec head_size(Fields.t()) :: pos_integer()
  def head_size(fields) do
    {width, heads} = {Fields.size(fields, "hidden_size"), Fields.size(fields, "num_attention_heads")}
    size = Fields.size(fields, "head_dim", div(width, heads))
    if size == 0, do: Fields.refuse(fields, "num_attention_heads", "at most #{width}, the hidden_size")
    size
  end

  defp feed_forward(_fields, {module, options}), do: {module, options}

  defp feed_forward(fields, different) do
    options = Keyword.merge([width: Fields.size(fields, "hidden_size")], different)
    options = Keyword.put_new_lazy(options, :hidden, fn -> Fields.size(fields, "intermediate_size") end)
    {GatedFeedForward, Keyword.put_new_lazy(options, :bias, fn -> Fields.flag(fields, "mlp_bias", false) end)}
  end

  @doc "The groups of experts and how many of them are kept, or `nil` for a single one."
  @spec groups(Fields.t()) :: {pos_integer(), pos_integer()} | nil
  def groups(fields) do
    count = Fields.size(fields, "n_group", 1)
    if count > 1, do: {count, Fields.size(fields, "topk_group", count)}
  end

  @doc """
  The kinds of the layers: those that `layer_types` lists, each of which is one of `kinds`, or without that what `default`
  gives for the number of each. Without a default the list must be there.
  """
  @spec layer_types(Fields.t(), [String.t()], (non_neg_integer() -> String.t()) | nil) :: [String.t()]
  def layer_types(fields, kinds, default \\ nil) do
    count = Fields.layers(fields, "num_hidden_layers")
    types = Fields.list(fields, "layer_types", count, nil) || (default && Enum.map(0..(count - 1), default))

    if types == nil or not Enum.all?(types, &(&1 in kinds)) do
      Fields.refuse(
        fields,
        "layer_types",
        "#{Enum.map_join(kinds, " or ", &inspect/1)} for each of the #{count} layers"
      )
    end

    types
  end

  @doc """
  The windows of the layers, a list of sizes or `nil` for a layer that sees everything.

  Layers are listed in `layer_types`; without that, `default` is a function of the number of a layer that is true for one
  with a window.
  """
  @spec windows(Fields.t(), (non_neg_integer() -> boolean()), pos_integer() | nil) :: [pos_integer() | nil]
  def windows(fields, default, window \\ nil) do
    count = Fields.layers(fields, "num_hidden_layers")
    kinds = Fields.list(fields, "layer_types", count, nil)
    windowed = if kinds, do: Enum.map(kinds, &windowed?(fields, &1)), else: Enum.map(0..(count - 1), default)

    for windowed? <- windowed do
      if windowed?, do: window || Fields.size(fields, "sliding_window")
    end
  end

  defp windowed?(_fields, "sliding_attention"), do: true
  defp windowed?(_fields, "full_attention"), do: false

  defp windowed?(fields, _other),
    do: Fields.refuse(fields, "layer_types", ~s("full_attention" or "sliding_attention" for each))
end
