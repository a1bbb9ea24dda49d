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

  Source: DeepSeek-AI, "DeepSeek-V4" (2026), section 2.3.
  """

  @behaviour Mlx.LM.Decoder.Mixer

  alias Mlx.{Array, Fast, NN}
  alias Mlx.Arguments.Options
  alias Mlx.LM.{CompressedCache, KeyValueCache, RotatingCache}
  alias Mlx.LM.Decoder.{Compressor, EntryIndexer, HeadLinear, Mask, Parameter, RoPE, TailRotation}

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
    indexer: nil
  ]

  @constants [:heads, :head_size, :groups, :window, :rope]

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
      q_b_norm: Parameter.norm({:rms_without_weight, eps}, size),
      kv_proj: Parameter.linear(width, size),
      kv_norm: Parameter.norm(options.norm, size),
      o_a_proj: HeadLinear.new(groups, div(heads, groups) * size, options.output_latent),
      o_b_proj: Parameter.linear(groups * options.output_latent, width),
      sinks: Parameter.zeros({heads}),
      compressor: options.compressor && Compressor.new(options.compressor),
      indexer: options.indexer && EntryIndexer.new(options.indexer)
    )
    |> struct!(Map.take(options, @constants))
  end

  @impl true
  def cache(%__MODULE__{compressor: nil, window: window}), do: RotatingCache.new(window)
  def cache(%__MODULE__{compressor: %{ratio: ratio}, window: window}), do: CompressedCache.new(window, ratio)

  @impl true
  def call(%__MODULE__{heads: heads, head_size: size, rope: rope} = attention, x, cache, step) do
    %Array{shape: {batch, length, _width}} = x
    start = cache.length
    low = NN.Layer.call(attention.q_a_norm, NN.Layer.call(attention.q_a_proj, x))
    queries = attention.q_b_proj |> NN.Layer.call(low) |> Mlx.reshape({batch, length, heads, size})
    queries = TailRotation.call(rope, attention.q_b_norm |> NN.Layer.call(queries) |> Mlx.swap_axes(1, 2), start)
    keys = attention.kv_norm |> NN.Layer.call(NN.Layer.call(attention.kv_proj, x)) |> Mlx.new_axis(1)
    {keys, mask, cache} = seen(attention, {x, low, start}, TailRotation.call(rope, keys, start), cache)
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

  # The keys that the queries see, who sees whom, and the cache.
  defp seen(%__MODULE__{compressor: nil}, _inputs, keys, cache) do
    {keys, _values, mask, cache} = RotatingCache.update(cache, keys, keys)
    {keys, mask, cache}
  end

  defp seen(attention, {x, _low, start} = inputs, keys, cache) do
    {keys, _values, mask, window} = RotatingCache.update(cache.window, keys, keys)
    {entry_rows, index_rows} = cache.rows || {nil, nil}
    {new, entry_rows} = Compressor.call(attention.compressor, x, start, entry_rows)
    {index, index_rows} = index(attention.indexer, x, start, index_rows, new)
    {all, index, _mask, entries} = KeyValueCache.update(cache.entries, new, index)
    {chosen, of_entries} = chosen(attention, inputs, all, index)
    length = Mlx.axis_size(x, 1)
    mask = whole(mask, length, Mlx.axis_size(keys, 2))
    both = Mlx.concatenate([Mlx.broadcast(mask, spread(mask, of_entries)), of_entries], axis: -1)

    {Mlx.concatenate([keys, chosen], axis: 2), both,
     CompressedCache.put(cache, window, entries, {entry_rows, index_rows})}
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
  defp chosen(attention, {x, _low, start} = inputs, %Array{shape: {batch, 1, count, size}} = entries, index) do
    length = Mlx.axis_size(x, 1)
    complete = complete(attention.compressor.ratio, start, length, count)

    cond do
      attention.indexer == nil or count <= attention.indexer.top ->
        {entries, complete |> Mlx.new_axis(1) |> Mlx.broadcast({batch, 1, length, count})}

      length == 1 ->
        places = EntryIndexer.choose(attention.indexer, inputs, index, complete)
        top = attention.indexer.top
        rows = Mlx.reshape(places, {batch, 1, top, 1})
        taken = Mlx.take_along_axis(entries, Mlx.broadcast(rows, {batch, 1, top, size}), axis: 2)
        kept = Mlx.take_along_axis(Mlx.broadcast(complete, {batch, 1, count}), places, axis: 2)
        {taken, Mlx.new_axis(kept, 1)}

      true ->
        places = EntryIndexer.choose(attention.indexer, inputs, index, complete)
        kept = Mlx.put_along_axis(Mlx.zeros({batch, length, count}, type: :bool), places, Mlx.array(true), axis: -1)
        {entries, kept |> Mlx.logical_and(complete) |> Mlx.new_axis(1)}
    end
  end

  # {1, length, count}, or {batch, length, count} where each row has a start of its own.
  defp complete(ratio, start, length, count) do
    ends = start |> Mlx.array() |> Mlx.reshape({:auto, 1, 1})
    ends = Mlx.add(ends, 1 |> Mlx.arange(length + 1, type: :s32) |> Mlx.reshape({1, length, 1}))
    Mlx.less(0 |> Mlx.arange(count, type: :s32) |> Mlx.reshape({1, 1, count}), Mlx.floor_divide(ends, ratio))
  end
end
