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
  | mixers | `Mlx.LM.Decoder.Attention`, `ShortConvolution`, `GatedDelta`, `Mamba2`, `Mamba`, `HeadMamba`, `GatedRecurrence`, `DecayedAttention`, `TimeMixing`, and whatever implements `Mlx.LM.Decoder.Mixer` |
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
  or, in the compiled step, an array without axes. So positions go through MLX (`Mlx.add(position, 1)`,
  `RoPE.call(rope, x, cache.length)`), and a branch on the length is made on `x`'s shape alone. A cache makes its own mask:

      {keys, values, mask, cache} = kind.update(cache, keys, values)    # KeyValueCache, RotatingCache

  where the mask is `nil`, `:causal` or booleans `{length, keys}`, and keys and values need not be of one size. Recurrent
  mixers keep a tuple of arrays: `StateCache.put(cache, {state, ...}, length_of_x)`, and start with `cache.state == nil`.

  What a later layer needs of an earlier one is put into `step`, a map that a call of the model begins with `%{ids: ids}`.
  """

  use Mlx.Arguments.Mismatch

  alias Mlx.{Array, NN, Tree}
  alias Mlx.Arguments.{Given, Options}
  alias Mlx.LM.{Cache, KeyValueCache, StateCache}
  alias Mlx.LM.Decoder.{Block, Config, ForInference, LayerInputs, Parameter, Streams}

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
      streams: config.streams && Streams.new(config.streams),
      layers: for({branches, parts} <- config.blocks, do: block(branches, parts, config.width)),
      norm: Parameter.norm(config.norm, config.width)
    ]

    %__MODULE__{
      config: config,
      model: for({name, part} <- body, part != nil, into: %{}, do: {name, part}),
      lm_head: if(not config.tied, do: Parameter.linear(config.width, config.vocabulary, config.output_bias))
    }
  end

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

    * `:form` - the form of matrices that are quantized: `:quantized`, or `:dense`, unpacked; by default `:dense` on a CPU
      and `:quantized` on a GPU. A GPU is bound by its memory, and on a CPU MLX's quantized product is a scalar loop on one
      core. SmolLM2-135M at 4 bits, on two cores with AVX-512 and OpenBLAS, wrote 7 tokens a second and read 10 with
      quantized matrices; 31 and 210 with `:f32` ones
    * `:join` - whether matrices are joined, default true. Without it, layers stay where they are in files
  """
  @spec for_inference(t(), keyword()) :: t()
  def for_inference(decoder, options \\ [])

  def for_inference(%__MODULE__{} = decoder, options) do
    default = if Mlx.Device.default() == :cpu, do: :dense, else: :quantized
    [form, join] = Options.without_stream(options, :"LM.Decoder.for_inference", form: nil, join: true)
    form = form || default

    if form not in [:dense, :quantized] do
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
  def caches(%__MODULE__{model: %{layers: blocks}}) do
    Enum.flat_map(blocks, &Block.caches/1)
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

  @doc "As `call/3`, with the logits `{batch, length, vocabulary}` of the tokens after each of `ids`."
  @spec logits(t(), Array.t(), [Cache.t()]) :: {Array.t(), [Cache.t()]}
  def logits(%__MODULE__{} = decoder, %Array{shape: {_, _}} = ids, caches) when is_list(caches) do
    {x, caches} = hidden(decoder, ids, caches)
    {output(decoder, x), caches}
  end

  @doc """
  The logits `{batch, length, vocabulary}` of the tokens after each of `ids`, an array `{batch, length}`, as a function that
  has gradients. Each row is a whole text, and there are no caches.

  Option:

    * `:checkpoint` - whether a gradient computes each block anew in place of keeping what is inside of it
      (`Mlx.checkpoint/1`), which takes less memory and more time: false (default), true, or a function of a path that says
      whether the array there has a gradient, where not all arrays of the blocks have. Blocks of recurrent layers keep what is
      inside of them
  """
  @spec training_logits(t(), Array.t(), keyword()) :: Array.t()
  def training_logits(decoder, ids, options \\ [])

  def training_logits(%__MODULE__{} = decoder, %Array{shape: {_, _}} = ids, options) do
    [checkpoint] = Options.without_stream(options, :"LM.Decoder.training_logits", checkpoint: false)

    call =
      case checkpoint do
        false -> &called/5
        true -> &anew(&1, &2, &3, &4, &5, fn _path -> true end)
        fun when is_function(fun, 1) -> &anew(&1, &2, &3, &4, &5, fun)
        other -> refuse_checkpoint!(other)
      end

    {x, _caches} = hidden(decoder, ids, unstored_caches(decoder), call)
    output(decoder, x)
  end

  defp refuse_checkpoint!(other) do
    raise ArgumentError,
          "Mlx.LM.Decoder.training_logits: expected :checkpoint to be true, false or a function of a path, " <>
            "got: #{Given.text(other)}"
  end

  defp unstored(%KeyValueCache{} = cache), do: %{cache | stored: false}
  defp unstored(cache), do: cache

  defp called(block, _number, x, caches, step), do: Block.call(block, x, caches, step)

  # Caches have read nothing and keep nothing, so that the block's own are gone with it. What has a gradient is an argument.
  defp anew(block, number, x, {used, left}, step, trained?) do
    {own, others} = Enum.split(left, length(Block.caches(block)))

    if Enum.any?(own, &is_struct(&1, StateCache)),
      do: called(block, number, x, {used, left}, step),
      else: attention_anew(block, number, x, {used, own, others}, step, trained?)
  end

  defp attention_anew(block, number, x, {used, own, left}, step, trained?) do
    {trained, kept} = Tree.partition(block, fn path, _array -> trained?.("model.layers.#{number}.#{path}") end)

    # MLX asks for the gradients of all that the function uses.
    {x, step} =
      Mlx.checkpoint(fn trained, kept, x, step ->
        kept = Tree.map(kept, &Mlx.stop_gradient/1)
        block = Tree.merge(trained, kept, fn part, _same -> part end)
        {x, _caches, step} = Block.call(block, x, {[], own}, step)
        {x, step}
      end).(trained, kept, x, step)

    {x, {Enum.reverse(own, used), left}, step}
  end

  @doc "As `call/3`, with what the last block gives, `{batch, length, width}`, in place of logits."
  @spec hidden(t(), Array.t(), [Cache.t()]) :: {Array.t(), [Cache.t()]}
  def hidden(%__MODULE__{} = decoder, %Array{shape: {_, _}} = ids, caches) when is_list(caches) do
    hidden(decoder, ids, caches, &called/5)
  end

  defp hidden(%__MODULE__{model: model} = decoder, ids, caches, call) do
    {x, step} = enter(decoder, ids, caches)

    {x, {used, []}, _step} =
      model.layers
      |> Enum.with_index()
      |> Enum.reduce({x, {[], caches}, step}, fn {block, number}, {x, caches, step} ->
        call.(block, number, x, caches, step)
      end)

    {merged(decoder, x), Enum.reverse(used)}
  end

  defp merged(%__MODULE__{model: model}, x), do: if(model[:streams], do: Streams.merge(model.streams, x), else: x)

  @doc false
  # What the first block reads, and the step, for who calls the blocks one by one.
  @spec enter(t(), Array.t(), [Cache.t()]) :: {Array.t(), map()}
  def enter(%__MODULE__{model: model} = decoder, ids, caches) do
    x = embedded(decoder, ids, caches)
    inputs = model[:layer_inputs]
    step = if inputs, do: %{ids: ids, layer_inputs: LayerInputs.call(inputs, ids, x)}, else: %{ids: ids}
    {if(model[:streams], do: Streams.spread(model.streams, x), else: x), step}
  end

  @doc false
  # The logits of what the last block gives.
  @spec leave(t(), Array.t()) :: Array.t()
  def leave(%__MODULE__{} = decoder, x), do: output(decoder, merged(decoder, x))

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

  defp positions(ids, [%{length: start} | _caches]) do
    Mlx.add(Mlx.arange(0, Mlx.axis_size(ids, 1), type: :s32), start)
  end

  defp output(%__MODULE__{config: config, model: model} = decoder, x) do
    x = NN.Layer.call(model.norm, x)
    logits = if decoder.lm_head, do: NN.Layer.call(decoder.lm_head, x), else: as_linear(model.embed_tokens, x)
    logits = if config.logit_scale, do: Mlx.multiply(logits, config.logit_scale), else: logits
    if cap = config.logit_cap, do: logits |> Mlx.divide(cap) |> Mlx.tanh() |> Mlx.multiply(cap), else: logits
  end

  defp as_linear(%module{} = embedding, x), do: module.as_linear(embedding, x)
end
