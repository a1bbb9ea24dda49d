defmodule Mlx.LM.Decoder.CompressedAttention do
  @moduledoc """
  Attention of DeepSeek V4, whose one head of keys is that of values, too. A position sees a window of positions, and
  compressed entries for all before it (`Mlx.LM.Decoder.Compressor`), or for those that an indexer chooses
  (`Mlx.LM.Decoder.EntryIndexer`):

      r = q_a_norm(q_a_proj(x));   q = rotate(norm(q_b_proj(r)));   k = rotate(kv_norm(kv_proj(x)))
      y = rotate back(attention(q, [k, entries], [k, entries]))
      y = o_b_proj(o_a_proj(groups of y))

  where each group of heads has a matrix of its own in `o_a_proj`, and each head a score of its own that takes attention
  from all positions. The last features of a head rotate.

  In DeepSeek V4.1 several layers share entries and what is chosen of them, and keys are rounded to 8 bits.

  Source: DeepSeek-AI, "DeepSeek-V4" (2026), section 2.3.
  """

  @behaviour Mlx.LM.Decoder.Mixer

  alias Mlx.{Array, Fast, NN}
  alias Mlx.Arguments.Options
  alias Mlx.LM.{CompressedCache, KeyValueCache, RotatingCache}

  alias Mlx.LM.Decoder.{
    CandidateIndexer,
    Compressor,
    EntryIndexer,
    FloatRounding,
    HeadLinear,
    Mask,
    Parameter,
    RoPE,
    SharedEntries,
    TailRotation
  }

  @options [
    width: nil,
    heads: nil,
    head_size: nil,
    query_latent: nil,
    groups: nil,
    output_latent: nil,
    window: nil,
    norm: nil,
    rope: nil,
    compressor: nil,
    indexer: nil,
    shared: false
  ]

  @constants [:heads, :head_size, :groups, :window, :rope, :shared]

  defstruct [:q_a_proj, :q_a_norm, :q_b_proj, :q_b_norm, :kv_proj, :kv_norm, :o_a_proj, :o_b_proj, :sinks] ++
              [:compressor, :indexer] ++ @constants

  @type t :: %__MODULE__{}

  @doc """
  Attention with zeros for arrays.

  Options:

    * `:width`, `:heads`, `:head_size` - sizes
    * `:query_latent` - the features of which queries are made
    * `:groups`, `:output_latent` - the groups of heads of the output, and the features between its matrices for each
    * `:window` - how many positions a position sees itself
    * `:norm` - the kind of normalisations, such as `{:rms, 1.0e-6}`
    * `:rope` - an `Mlx.LM.Decoder.RoPE`
    * `:compressor`, `:indexer` - options of `Mlx.LM.Decoder.Compressor` and `Mlx.LM.Decoder.EntryIndexer`, default `nil`
    * `:shared` - whether it is attention of DeepSeek V4.1: queries have no normalisation, keys are rounded, and the indexer
      is an `Mlx.LM.Decoder.CandidateIndexer`; `:window` for one that sees no entries; default false
  """
  @impl true
  @spec new(keyword()) :: t()
  def new(options) do
    options = options |> Options.complete(:"LM.Decoder.CompressedAttention.new", @options) |> Map.new()
    %{width: width, heads: heads, head_size: size, groups: groups, norm: {:rms, eps}} = options

    if rem(heads, groups) != 0,
      do: raise(Mlx.Error, message: "the configuration asks for #{groups} groups, which do not divide #{heads} heads")

    __MODULE__
    |> struct!(
      q_a_proj: Parameter.linear(width, options.query_latent),
      q_a_norm: Parameter.norm(options.norm, options.query_latent),
      q_b_proj: Parameter.linear(options.query_latent, heads * size),
      q_b_norm: if(options.shared == false, do: Parameter.norm({:rms_without_weight, eps}, size)),
      kv_proj: Parameter.linear(width, size),
      kv_norm: Parameter.norm(options.norm, size),
      o_a_proj: HeadLinear.new(groups, div(heads, groups) * size, options.output_latent),
      o_b_proj: Parameter.linear(groups * options.output_latent, width),
      sinks: Parameter.zeros({heads}),
      compressor: options.compressor && Compressor.new(options.compressor),
      indexer: options.indexer && indexer(options)
    )
    |> struct!(Map.take(options, @constants))
  end

  defp indexer(%{shared: false, indexer: options}), do: EntryIndexer.new(options)
  defp indexer(%{indexer: options}), do: CandidateIndexer.new(options)

  @impl true
  def cache(%__MODULE__{compressor: nil, window: window}), do: RotatingCache.new(window)
  def cache(%__MODULE__{compressor: %{ratio: ratio}, window: window}), do: CompressedCache.new(window, ratio)

  @impl true
  def call(%__MODULE__{heads: heads, head_size: size, rope: rope} = attention, x, cache, step) do
    %Array{shape: {batch, length, _width}} = x
    start = cache.length
    low = NN.Layer.call(attention.q_a_norm, NN.Layer.call(attention.q_a_proj, x))
    queries = attention.q_b_proj |> NN.Layer.call(low) |> Mlx.reshape({batch, length, heads, size})
    queries = if attention.q_b_norm, do: NN.Layer.call(attention.q_b_norm, queries), else: queries
    queries = TailRotation.call(rope, Mlx.swap_axes(queries, 1, 2), start)
    keys = attention.kv_norm |> NN.Layer.call(NN.Layer.call(attention.kv_proj, x)) |> Mlx.new_axis(1)
    {keys, mask, cache, step} = seen(attention, {x, low, start}, TailRotation.call(rope, keys, start), cache, step)
    options = [scale: 1 / :math.sqrt(size), mask: mask, sinks: attention.sinks]
    y = Fast.scaled_dot_product_attention(queries, keys, keys, options)
    {output(attention, TailRotation.call(back(rope), y, start)), cache, step}
  end

  defp back(%RoPE{frequencies: %Array{} = all} = rope), do: %{rope | frequencies: Mlx.negate(all)}
  defp back(%RoPE{frequencies: all} = rope), do: %{rope | frequencies: Enum.map(all, &(-&1))}

  defp output(%__MODULE__{groups: groups} = attention, %Array{shape: {batch, heads, length, size}} = y) do
    y = y |> Mlx.swap_axes(1, 2) |> Mlx.reshape({batch, length, groups, div(heads, groups) * size})
    y = attention.o_a_proj |> HeadLinear.call(Mlx.swap_axes(y, 1, 2)) |> Mlx.swap_axes(1, 2)
    NN.Layer.call(attention.o_b_proj, Mlx.flatten(y, axes: [2, 3]))
  end

  # The keys that the queries see, who sees whom, the cache and the step.
  defp seen(%__MODULE__{shared: shared} = attention, inputs, keys, cache, step) when shared != false do
    SharedEntries.seen(attention, inputs, FloatRounding.eights(keys), cache, step)
  end

  defp seen(%__MODULE__{compressor: nil}, _inputs, keys, cache, step) do
    {keys, _values, mask, cache} = RotatingCache.update(cache, keys, keys)
    {keys, mask, cache, step}
  end

  defp seen(attention, {x, _low, start} = inputs, keys, cache, step) do
    {keys, _values, mask, window} = RotatingCache.update(cache.window, keys, keys)
    {entry_rows, index_rows} = cache.rows || {nil, nil}
    {new, entry_rows} = Compressor.call(attention.compressor, x, start, entry_rows)
    {index, index_rows} = index(attention.indexer, x, start, index_rows, new)
    {all, index, _mask, entries} = KeyValueCache.update(cache.entries, new, index)
    {keys, mask} = both(keys, mask, chosen(attention, inputs, all, index))
    {keys, mask, CompressedCache.put(cache, window, entries, {entry_rows, index_rows}), step}
  end

  @doc false
  # The keys of a window with entries, and who sees which of both.
  @spec both(Array.t(), nil | :causal | Array.t(), {Array.t(), Array.t()}) :: {Array.t(), Array.t()}
  def both(keys, mask, {entries, %Array{shape: {_, 1, length, _}} = of_entries}) do
    mask = whole(mask, length, Mlx.axis_size(keys, 2))
    mask = Mlx.broadcast(mask, spread(mask, of_entries))
    {Mlx.concatenate([keys, entries], axis: 2), Mlx.concatenate([mask, of_entries], axis: -1)}
  end

  # Without an indexer something small stands beside the entries.
  defp index(nil, _x, _start, rows, new), do: {new[[.., .., .., 0..0]], rows || {}}
  defp index(indexer, x, start, rows, _new), do: Compressor.call(indexer.pool, x, start, rows)

  defp whole(nil, length, count), do: Mlx.ones({length, count}, type: :bool)
  defp whole(:causal, length, count), do: Mlx.broadcast(Mask.causal(length, count), {length, count})
  defp whole(%Array{shape: {_batch, 1, _, _}} = mask, _length, _count), do: mask
  defp whole(mask, length, count), do: Mlx.broadcast(mask, {length, count})

  defp spread(mask, %Array{shape: {batch, 1, length, _}}), do: {batch, 1, length, Mlx.axis_size(mask, -1)}

  # Entries, and which of them a position sees: those that are complete and chosen. For one position only the chosen ones
  # are there.
  defp chosen(attention, {x, _low, start} = inputs, %Array{shape: {batch, 1, count, _}} = entries, index) do
    length = Mlx.axis_size(x, 1)
    complete = Mask.complete(attention.compressor.ratio, start, length, count)

    cond do
      attention.indexer == nil or count <= attention.indexer.top ->
        {entries, complete |> Mlx.new_axis(1) |> Mlx.broadcast({batch, 1, length, count})}

      length == 1 ->
        places = EntryIndexer.choose(attention.indexer, inputs, index, complete)
        kept = Mlx.take_along_axis(Mlx.broadcast(complete, {batch, 1, count}), places, axis: 2)
        {at(entries, places), Mlx.new_axis(kept, 1)}

      true ->
        places = EntryIndexer.choose(attention.indexer, inputs, index, complete)
        kept = Mlx.put_along_axis(Mlx.zeros({batch, length, count}, type: :bool), places, Mlx.array(true), axis: -1)
        {entries, kept |> Mlx.logical_and(complete) |> Mlx.new_axis(1)}
    end
  end

  @doc false
  # The entries, `{batch, 1, top, size}`, of the numbers `{batch, 1, top}`.
  @spec at(Array.t(), Array.t()) :: Array.t()
  def at(%Array{shape: {batch, 1, _count, size}} = entries, %Array{shape: {batch, 1, top}} = places) do
    rows = places |> Mlx.reshape({batch, 1, top, 1}) |> Mlx.broadcast({batch, 1, top, size})
    Mlx.take_along_axis(entries, rows, axis: 2)
  end
end
