defmodule Mlx.LM.Decoder do
  @moduledoc """
  A decoder-only language model, made of parts that a configuration chooses for each block:

      x = embed_tokens(tokens)
      x = block(x)                    for each block
      logits = lm_head(norm(x))

  Its fields have the names that tensors have in the files of Hugging Face, so that the path of an array in `Mlx.Tree` is
  its name in a file: `model.embed_tokens.weight`, `model.layers.0.self_attn.q_proj.weight`, `model.norm.weight`,
  `lm_head.weight`.

  | parts | |
  | --- | --- |
  | mixers | `Mlx.LM.Decoder.Attention`, `LatentAttention`, `LoopedAttention`, `CompressedAttention`, `ShortConvolution`, `ConvolvedGate`, `GatedDelta`, `FeatureDelta`, `Mamba2`, `Mamba`, `HeadMamba`, `GatedRecurrence`, `DecayedAttention`, `TimeMixing`, and whatever implements `Mlx.LM.Decoder.Mixer` |
  | feed-forward layers | `Mlx.LM.Decoder.GatedFeedForward`, `PlainFeedForward` and `Experts`, and any layer of `Mlx.NN` |
  | positions | `Mlx.LM.Decoder.RoPE` |
  | order | `Mlx.LM.Decoder.Block` |

  ## Another mixer

  A mixer is a struct in the file `lib/mlx/lm/decoder/NAME.ex`, whose module implements `Mlx.LM.Decoder.Mixer`:

      def new(options)                    # the struct, with zeros of the right shapes for arrays
      def cache(mixer)                    # KeyValueCache.new(), RotatingCache.new(window), StateCache.new(), or nil
      def call(mixer, x, cache, step)     # {outputs, cache, step}
      def join(mixer)                     # optional: with joined matrices

  A family names it as a part of its blocks, with the field's name that files have: `mixers: [mamba: {MyMixer, options}]`
  among the options of `Mlx.LM.Families.Plain.config/2`, for all blocks or, by `:block`, for one. Its linear layers are called by `Mlx.NN.Layer.call/2`, because they may be quantized, or be replaced for inference.

  The same `call` serves a prompt and a single token. `cache.length` is the position of the first row of `x`: an integer,
  or, in the compiled step, an array without axes, or `{batch}` where each row of a batch has its own. So positions go through MLX (`Mlx.add(position, 1)`,
  `RoPE.call(rope, x, cache.length)`), and a branch on the length is made on `x`'s shape alone. A cache makes its own mask:

      {keys, values, mask, cache} = kind.update(cache, keys, values)    # KeyValueCache, RotatingCache

  where the mask is `nil`, `:causal` or booleans `{length, keys}` or `{batch, 1, length, keys}`, and keys and values need not be of one size. Recurrent
  mixers keep a tuple of arrays: `StateCache.put(cache, {state, ...}, length_of_x)`, and start with `cache.state == nil`.

  What a later layer needs of an earlier one is put into `step`, a map that a call of the model begins with `:ids` and
  `:embedded`, the stream before the first block.
  """

  use Mlx.Arguments.Mismatch

  alias Mlx.{Array, NN}
  alias Mlx.Arguments.{Given, Options}
  alias Mlx.LM.{Cache, CachePair, CacheRows, CompressedCache, KeyValueCache, PackedCache}
  alias Mlx.LM.Decoder.{Block, Config, Factor, ForInference, LayerInputs, Parameter, Rows}

  @derive {Inspect, only: [:config]}
  @enforce_keys [:config, :model, :lm_head]
  defstruct @enforce_keys

  @type t :: %__MODULE__{
          config: Config.t(),
          model: %{required(:embed_tokens) => struct(), required(:layers) => [Block.t()], optional(atom()) => struct()},
          lm_head: struct() | nil
        }

  @doc """
  A decoder of a configuration, with zeros for arrays, which say the shapes that a file must have.
  """
  @spec new(Config.t()) :: t()
  def new(%Config{} = config) do
    body = [
      embed_tokens: Parameter.embedding(config.vocabulary, config.width),
      embed_positions: config.positions && Parameter.embedding(config.positions, config.width),
      embedding_norm: config.embedding_norm && Parameter.norm(config.embedding_norm, config.width),
      layer_inputs: config.layer_inputs && LayerInputs.new(config.layer_inputs),
      streams: config.streams && new_part(config.streams),
      layers: for({branches, parts} <- config.blocks, do: block(branches, parts, config.width)),
      norm: Parameter.norm(config.norm, config.width),
      lm_head_gain: if(config.logit_factor, do: Factor.new(size: 1))
    ]

    %__MODULE__{
      config: config,
      model: for({name, part} <- body, part != nil, into: %{}, do: {name, part}),
      lm_head: if(not config.tied, do: Parameter.linear(config.width, config.vocabulary, config.output_bias))
    }
  end

  defp new_part({module, options}), do: module.new(options)

  defp block(branches, parts, width) do
    for {name, part} <- parts, into: %{branches: branches} do
      case part do
        {:norm, kind} -> {name, Parameter.norm(kind, width)}
        {module, options} -> {name, module.new(options)}
      end
    end
  end

  @doc """
  The decoder as it runs fastest on the default device: matrices that are multiplied by the same input are joined. Its
  outputs are the same, but its paths are no longer the names in files.

  It computes all arrays, and gives up those of the decoder that it is given.

  Options:

    * `:form` - the form of matrices that are quantized: `:quantized`, or `:dense`, unpacked. By default they stay
      quantized where the device has kernels for them: on a GPU all, and on a CPU affine ones of 4 or 8 bits with a
      multiple of 64 inputs, except those of experts
    * `:join` - whether matrices are joined, default true. Without it, layers stay where they are in files
  """
  @spec for_inference(t(), keyword()) :: t()
  def for_inference(decoder, options \\ [])

  def for_inference(%__MODULE__{} = decoder, options) do
    [form, join] = Options.without_stream(options, :"LM.Decoder.for_inference", form: nil, join: true)

    if form not in [:dense, :quantized, nil] do
      raise ArgumentError,
            "Mlx.LM.Decoder.for_inference: expected :form to be :quantized or :dense, got: #{Given.text(form)}"
    end

    if not is_boolean(join) do
      raise ArgumentError,
            "Mlx.LM.Decoder.for_inference: expected :join to be true or false, got: #{Given.text(join)}"
    end

    ForInference.of(decoder, form, join)
  end

  @doc "Empty caches, one for each mixer that needs one."
  @spec caches(t()) :: [Cache.t()]
  def caches(%__MODULE__{config: config, model: %{layers: blocks}}) do
    for _loop <- 1..config.loops, block <- blocks, cache <- Block.caches(block), do: cache
  end

  @doc """
  The logits `{batch, vocabulary}` of the token after `ids`, an array `{batch, length}`, and the caches.

  The positions of `ids` follow those that are in the caches.
  """
  @spec call(t(), Array.t(), [Cache.t()]) :: {Array.t(), [Cache.t()]}
  def call(%__MODULE__{} = decoder, %Array{shape: {_, _}} = ids, caches) when is_list(caches) do
    {%Array{shape: {batch, length, width}} = x, caches} = hidden(decoder, ids, caches)
    last = x |> Mlx.slice([0, length - 1, 0], [batch, 1, width]) |> Mlx.squeeze(axes: [1])
    {output(decoder, last), caches}
  end

  @doc false
  # As `call/3`, where only so many of the tokens of each row are its own, `lengths`, and those after them fill it up.
  @spec call_padded(t(), Array.t(), [Cache.t()], [pos_integer()]) :: {Array.t(), [Cache.t()]}
  def call_padded(%__MODULE__{} = decoder, %Array{} = ids, caches, lengths) do
    {%Array{shape: {batch, _length, width}} = x, caches} = hidden(decoder, ids, caches)
    places = for length <- lengths, do: [[length - 1]]
    index = places |> Mlx.array(type: :s32) |> Mlx.broadcast({batch, 1, width})
    {output(decoder, x |> Mlx.take_along_axis(index, axis: 1) |> Mlx.squeeze(axes: [1])), caches}
  end

  @doc "As `call/3`, with the logits `{batch, length, vocabulary}` of the tokens after each of `ids`."
  @spec logits(t(), Array.t(), [Cache.t()]) :: {Array.t(), [Cache.t()]}
  def logits(%__MODULE__{} = decoder, %Array{shape: {_, _}} = ids, caches) when is_list(caches) do
    {x, caches} = hidden(decoder, ids, caches)
    {output(decoder, x), caches}
  end

  @doc """
  The logits `{batch, length, vocabulary}` of the tokens after each of `ids`, an array `{batch, length}`, as a function that
  has gradients. Each row is a whole text, and there are no caches.

  Options:

    * `:checkpoint` - whether a gradient computes each block anew in place of keeping what is inside of it
      (`Mlx.checkpoint/1`), which takes less memory and more time; default false
    * `:starts` - for rows of several texts: the place in its row at which the text of each token begins, an array
      `{batch, length}` of integers. A token sees its own text alone. Default `nil`

  Raises `ArgumentError` for `:starts` and a model whose mixers do not keep the texts of a row apart.
  """
  @spec training_logits(t(), Array.t(), keyword()) :: Array.t()
  def training_logits(decoder, ids, options \\ [])

  def training_logits(%__MODULE__{} = decoder, %Array{shape: {_, _}} = ids, options) do
    defaults = [checkpoint: false, starts: nil]
    [checkpoint, starts] = Options.without_stream(options, :"LM.Decoder.training_logits", defaults)

    if not is_boolean(checkpoint) do
      raise ArgumentError,
            "Mlx.LM.Decoder.training_logits: expected :checkpoint to be true or false, got: #{Given.text(checkpoint)}"
    end

    caches = if starts, do: packed_caches(decoder, ids, starts), else: unstored_caches(decoder)
    {x, _caches} = hidden(decoder, ids, caches, if(checkpoint, do: &anew/4, else: &Block.call/4))
    output(decoder, x)
  end

  defp packed_caches(decoder, %Array{shape: shape}, starts) do
    if not match?(%Array{shape: ^shape}, starts) do
      raise ArgumentError,
            "Mlx.LM.Decoder.training_logits: expected :starts to be an array of the shape #{Given.text(shape)} of the " <>
              "tokens, got: #{Given.text(starts)}"
    end

    PackedCache.check!(decoder, "Mlx.LM.Decoder.training_logits", ":starts")
    PackedCache.all(caches(decoder), starts)
  end

  defp unstored(%KeyValueCache{} = cache), do: %{cache | stored: false}
  defp unstored(%CachePair{} = pair), do: %{pair | first: unstored(pair.first), second: unstored(pair.second)}
  defp unstored(%CompressedCache{} = cache), do: %{cache | entries: unstored(cache.entries)}
  defp unstored(cache), do: cache

  # Caches have read nothing and keep nothing, so that the block's own are gone with it. What has a gradient is an argument.
  defp anew(block, x, {used, left}, step) do
    {own, left} = Enum.split(left, length(Block.caches(block)))

    {x, step} =
      Mlx.checkpoint(fn block, x, step ->
        {x, _caches, step} = Block.call(block, x, {[], own}, step)
        {x, step}
      end).(block, x, step)

    {x, {Enum.reverse(own, used), left}, step}
  end

  @doc "As `call/3`, with what the last block gives, `{batch, length, width}`, in place of logits."
  @spec hidden(t(), Array.t(), [Cache.t()]) :: {Array.t(), [Cache.t()]}
  def hidden(%__MODULE__{} = decoder, %Array{shape: {_, _}} = ids, caches) when is_list(caches) do
    hidden(decoder, ids, caches, &Block.call/4)
  end

  defp hidden(%__MODULE__{model: model} = decoder, ids, caches, call) do
    {x, step} = enter(decoder, ids, caches)
    x = if model[:streams], do: x, else: Rows.of(x, model.layers)
    start = {x, {[], caches}, step}
    {x, {used, []}, _step} = Enum.reduce(1..decoder.config.loops, start, &loop(decoder, call, &1, &2))
    {merged(model[:streams], Rows.positions(x)), Enum.reverse(used)}
  end

  defp spread(nil, x), do: x
  defp spread(%module{} = streams, x), do: module.spread(streams, x)

  defp merged(nil, x), do: x
  defp merged(%module{} = streams, x), do: module.merge(streams, x)

  # The last time ends without the normalisation, which stands before the output.
  defp loop(%__MODULE__{config: config, model: model}, call, number, {x, caches, step}) do
    x = if number > 1 and config.loop_norm, do: Rows.call(model.norm, x), else: x
    step = Map.put(step, :loop, number)
    Enum.reduce(model.layers, {x, caches, step}, fn block, {x, caches, step} -> call.(block, x, caches, step) end)
  end

  @doc false
  # What the first block reads, and the step, for who calls the blocks one by one.
  @spec enter(t(), Array.t(), [Cache.t()]) :: {Array.t(), map()}
  def enter(%__MODULE__{model: model} = decoder, ids, caches) do
    x = embedded(decoder, ids, caches)
    inputs = model[:layer_inputs]
    step = %{ids: ids, embedded: x}
    step = if inputs, do: Map.put(step, :layer_inputs, LayerInputs.call(inputs, ids, x)), else: step
    {spread(model[:streams], x), step}
  end

  @doc false
  # The logits of what the last block gives.
  @spec leave(t(), Array.t()) :: Array.t()
  def leave(%__MODULE__{} = decoder, x), do: output(decoder, merged(decoder.model[:streams], x))

  @doc false
  # Empty caches that keep nothing of what they read.
  @spec unstored_caches(t()) :: [Cache.t()]
  def unstored_caches(%__MODULE__{} = decoder), do: Enum.map(caches(decoder), &unstored/1)

  defp embedded(%__MODULE__{config: config, model: model}, ids, caches) do
    x = NN.Layer.call(model.embed_tokens, ids)
    x = if config.embedding_scale, do: Mlx.multiply(x, config.embedding_scale), else: x
    x = if config.positions, do: Mlx.add(x, NN.Layer.call(model.embed_positions, positions(ids, caches))), else: x
    if config.embedding_norm, do: NN.Layer.call(model.embedding_norm, x), else: x
  end

  defp positions(%Array{shape: shape}, [%{length: %Array{shape: start_shape} = start} | _caches])
       when start_shape != {} do
    start |> CacheRows.positions(elem(shape, 1)) |> Mlx.reshape(shape)
  end

  defp positions(ids, [%{length: start} | _caches]) do
    Mlx.add(Mlx.arange(0, Mlx.axis_size(ids, 1), type: :s32), start)
  end

  defp output(%__MODULE__{config: config, model: model} = decoder, x) do
    x = NN.Layer.call(model.norm, x)
    logits = if decoder.lm_head, do: NN.Layer.call(decoder.lm_head, x), else: as_linear(model.embed_tokens, x)
    logits = if config.logit_scale, do: Mlx.multiply(logits, config.logit_scale), else: logits
    logits = if factor = model[:lm_head_gain], do: NN.Layer.call(factor, logits), else: logits
    logits = if cap = config.logit_cap, do: logits |> Mlx.divide(cap) |> Mlx.tanh() |> Mlx.multiply(cap), else: logits
    without(logits, config.unused, config.vocabulary)
  end

  defp without(logits, [], _vocabulary), do: logits

  defp without(logits, unused, vocabulary) do
    used = Mlx.put_along_axis(Mlx.ones({vocabulary}, type: :bool), Mlx.array(unused), Mlx.array(false), axis: 0)
    Mlx.select(used, logits, :neg_infinity)
  end

  defp as_linear(%module{} = embedding, x), do: module.as_linear(embedding, x)
end
