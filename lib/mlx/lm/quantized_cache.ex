defmodule Mlx.LM.QuantizedCache do
  @moduledoc """
  The keys and values of one attention layer as `Mlx.LM.KeyValueCache` has them, quantized: they take a half or a quarter of
  the memory. Products with queries are made without unpacking them.

      cache = Mlx.LM.QuantizedCache.new(bits: 8, group_size: 64)
      {output, cache} = Mlx.LM.QuantizedCache.attend(cache, queries, keys, values)

  They are three arrays each, as `Mlx.quantize/2` makes them, with room for more positions, which grows by steps of 256, from 2,048 on by an eighth.

  Python: `QuantizedKVCache` of `mlx_lm.models.cache`.
  """

  @behaviour Mlx.LM.Cache

  use Mlx.Arguments.Mismatch

  alias Mlx.{Array, Tree}
  alias Mlx.Arguments.{Given, Options}
  alias Mlx.LM.{Cache, CacheRows, KeyValueCache}

  @bits [2, 3, 4, 5, 6, 8]
  @group_sizes [32, 64, 128]

  @enforce_keys [:bits, :group_size]
  defstruct [:bits, :group_size, keys: nil, values: nil, length: 0]

  @typedoc "Weights, scales and biases of `{batch, heads, room, ...}`."
  @type packed :: {Array.t(), Array.t(), Array.t()}

  @type t :: %__MODULE__{
          bits: pos_integer(),
          group_size: pos_integer(),
          keys: packed() | nil,
          values: packed() | nil,
          length: non_neg_integer() | Array.t()
        }

  @doc """
  An empty cache.

  Options:

    * `:bits` - of a number: 2, 3, 4, 5, 6 or 8, default 8
    * `:group_size` - how many features share a scale: 32, 64 or 128, default 64. The features of a head are a multiple of it

  Examples:

      iex> Mlx.LM.QuantizedCache.new(bits: 4).group_size
      64
  """
  @spec new(keyword()) :: t()
  def new(options \\ []) do
    [bits, group_size] = Options.without_stream(options, :"LM.QuantizedCache.new", bits: 8, group_size: 64)
    one_of!(:bits, bits, @bits)
    one_of!(:group_size, group_size, @group_sizes)
    %__MODULE__{bits: bits, group_size: group_size}
  end

  defp one_of!(name, value, known) do
    if value not in known do
      raise ArgumentError,
            "Mlx.LM.QuantizedCache.new: expected #{inspect(name)} to be one of #{Enum.join(known, ", ")}, " <>
              "got: #{Given.text(value)}"
    end
  end

  @doc """
  The cache with the keys and values of another one, which is given up.

      iex> part = Mlx.ones({1, 2, 3, 64})
      iex> {_output, cache} = Mlx.LM.KeyValueCache.attend(Mlx.LM.KeyValueCache.new(), part, part, part)
      iex> cache = Mlx.LM.QuantizedCache.from_cache(cache, bits: 4)
      iex> {elem(cache.keys, 0).shape, cache.length}
      {{1, 2, 256, 8}, 3}

  Python: `KVCache.to_quantized`.
  """
  @spec from_cache(KeyValueCache.t(), keyword()) :: t()
  def from_cache(cache, options \\ [])

  def from_cache(%KeyValueCache{length: length} = cache, options) when is_integer(length) do
    empty = new(options)

    if cache.keys == nil do
      empty
    else
      [keys, values] = for array <- [cache.keys, cache.values], do: quantized(empty, array)
      KeyValueCache.release([cache.keys, cache.values])
      %{empty | keys: keys, values: values, length: length}
    end
  end

  @doc """
  Adds keys and values, and has queries attend, as `Mlx.LM.KeyValueCache.attend/5` does.

  Options:

    * `:scale` - of the scores, default `1 / sqrt(features)`

      iex> [queries, part] = [Mlx.ones({1, 4, 3, 64}), Mlx.ones({1, 2, 3, 64})]
      iex> {output, cache} = Mlx.LM.QuantizedCache.attend(Mlx.LM.QuantizedCache.new(), queries, part, part)
      iex> {output.shape, cache.length}
      {{1, 4, 3, 64}, 3}
  """
  @spec attend(t(), Array.t(), Array.t(), Array.t(), keyword()) :: {Array.t(), t()}
  def attend(cache, queries, keys, values, options \\ [])

  def attend(%__MODULE__{} = cache, %Array{} = queries, %Array{} = keys, %Array{} = values, options) do
    %Array{shape: {batch, heads, length, size}} = queries
    [scale] = Options.without_stream(options, :"LM.QuantizedCache.attend", scale: nil)
    shared = Mlx.axis_size(keys, 1)
    {keys, values, mask, kept} = added(cache, keys, values)
    features = Mlx.axis_size(elem(values, 1), 3) * cache.group_size

    # The queries that share keys are rows of one product.
    scores =
      queries
      |> Mlx.multiply(scale || 1 / :math.sqrt(size))
      |> Mlx.reshape({batch, shared, div(heads, shared) * length, size})
      |> multiplied(keys, true, cache)
      |> masked(mask, length)
      |> Mlx.softmax(axes: -1, precise: true)

    {scores |> multiplied(values, false, cache) |> Mlx.reshape({batch, heads, length, features}), kept}
  end

  defp multiplied(x, {weight, scales, biases}, transpose, cache) do
    Mlx.quantized_matmul(x, weight, scales, biases,
      transpose: transpose,
      group_size: cache.group_size,
      bits: cache.bits
    )
  end

  defp masked(scores, nil, _length), do: scores

  defp masked(%Array{shape: {batch, shared, rows, keys} = shape} = scores, mask, length) do
    each = Mlx.reshape(scores, {batch, shared, div(rows, length), length, keys})
    mask |> in_groups() |> Mlx.select(each, :neg_infinity) |> Mlx.reshape(shape)
  end

  # The mask of each row, {batch, 1, length, keys}, for scores by groups of heads.
  defp in_groups(%Array{shape: {_, _, _, _}} = mask), do: Mlx.new_axis(mask, 2)
  defp in_groups(mask), do: mask

  @doc """
  Adds keys and values for attention of another kind, as `Mlx.LM.KeyValueCache.update/3` does. The keys and values that it
  returns are unpacked.

      iex> part = Mlx.ones({1, 2, 3, 64})
      iex> {keys, _values, mask, _cache} = Mlx.LM.QuantizedCache.update(Mlx.LM.QuantizedCache.new(), part, part)
      iex> {keys.shape, mask.shape}
      {{1, 2, 3, 64}, {3, 3}}
  """
  @spec update(t(), Array.t(), Array.t()) :: {Array.t(), Array.t(), nil | Array.t(), t()}
  def update(%__MODULE__{} = cache, %Array{} = keys, %Array{} = values) do
    {keys, values, mask, kept} = added(cache, keys, values)
    {unpacked(keys, cache), unpacked(values, cache), mask, kept}
  end

  defp unpacked({weight, scales, biases}, cache) do
    Mlx.dequantize(weight, scales, biases, group_size: cache.group_size, bits: cache.bits)
  end

  # The keys and values with new ones, the mask, and the cache.
  defp added(%__MODULE__{length: %Array{shape: {_batch}} = start} = cache, keys, values) do
    count = Mlx.axis_size(keys, 2)
    positions = CacheRows.positions(start, count)
    kept = written(cache, keys, values, &CacheRows.write(&1, &2, positions))
    mask = CacheRows.seen(positions, Mlx.axis_size(elem(kept.keys, 0), 2))
    {kept.keys, kept.values, mask, %{kept | length: Mlx.add(start, count)}}
  end

  defp added(%__MODULE__{length: %Array{} = start} = cache, keys, values) do
    count = Mlx.axis_size(keys, 2)
    kept = written(cache, keys, values)
    places = Mlx.arange(0, Mlx.axis_size(elem(kept.keys, 0), 2), type: :s32)
    queries = Mlx.new_axis(Mlx.add(Mlx.arange(0, count, type: :s32), start), 1)
    mask = Mlx.less_equal(Mlx.new_axis(places, 0), queries)
    {kept.keys, kept.values, mask, %{kept | length: Mlx.add(start, count)}}
  end

  defp added(%__MODULE__{length: start} = cache, keys, values) do
    count = Mlx.axis_size(keys, 2)
    length = start + count
    roomy = with_room(cache, packed_shapes(cache, keys, values), length)
    kept = written(roomy, keys, values)
    KeyValueCache.release(Tree.arrays([cache.keys, cache.values, roomy.keys, roomy.values]))
    {first(kept.keys, length), first(kept.values, length), mask(start, count), %{kept | length: length}}
  end

  defp mask(_start, 1), do: nil

  defp mask(start, count) do
    queries = Mlx.new_axis(Mlx.arange(start, start + count, type: :s32), 1)
    Mlx.less_equal(Mlx.new_axis(Mlx.arange(0, start + count, type: :s32), 0), queries)
  end

  defp written(cache, keys, values), do: written(cache, keys, values, &Mlx.put_slice(&1, [0, 0, cache.length, 0], &2))

  defp written(cache, keys, values, write) do
    [keys, values] =
      for {buffers, part} <- [{cache.keys, keys}, {cache.values, values}] do
        zip(buffers, quantized(cache, part), write)
      end

    %{cache | keys: keys, values: values}
  end

  defp quantized(%__MODULE__{} = cache, %Array{shape: {_, _, _, features}} = array) do
    if rem(features, cache.group_size) != 0 do
      raise Mlx.Error,
        message: "keys or values have #{features} features, which are no multiple of the group size #{cache.group_size}"
    end

    Mlx.quantize(array, group_size: cache.group_size, bits: cache.bits)
  end

  defp zip(a, b, fun) do
    {elem(a, 0) |> fun.(elem(b, 0)), elem(a, 1) |> fun.(elem(b, 1)), elem(a, 2) |> fun.(elem(b, 2))}
  end

  defp map({weight, scales, biases}, fun), do: {fun.(weight), fun.(scales), fun.(biases)}

  defp first(buffers, length) do
    map(buffers, fn %Array{shape: {batch, heads, _room, size}} = buffer ->
      Mlx.slice(buffer, [0, 0, 0, 0], [batch, heads, length, size])
    end)
  end

  # The last axes and types of what is kept, where nothing is yet.
  defp packed_shapes(%__MODULE__{keys: nil} = cache, keys, values) do
    for %Array{shape: {batch, heads, _length, features}, type: type} <- [keys, values] do
      groups = div(features, cache.group_size)

      for {size, type} <- [{div(features * cache.bits, 32), :u32}, {groups, type}, {groups, type}] do
        {batch, heads, size, type}
      end
    end
  end

  defp packed_shapes(_cache, _keys, _values), do: nil

  defp with_room(%__MODULE__{keys: nil} = cache, shapes, length) do
    [keys, values] =
      for parts <- shapes do
        List.to_tuple(for {batch, heads, size, type} <- parts, do: zeros(batch, heads, Cache.room(length), size, type))
      end

    %{cache | keys: keys, values: values}
  end

  defp with_room(cache, _shapes, length) do
    %{cache | keys: map(cache.keys, &grown(&1, length)), values: map(cache.values, &grown(&1, length))}
  end

  defp grown(%Array{shape: {_, _, room, _}} = buffer, length) when length <= room, do: buffer

  defp grown(%Array{shape: {batch, heads, room, size}, type: type} = buffer, length) do
    Mlx.concatenate([buffer, zeros(batch, heads, Cache.room(length) - room, size, type)], axis: 2)
  end

  defp zeros(batch, heads, room, size, type), do: Mlx.zeros({batch, heads, room, size}, type: type)

  @impl true
  def make_room(%__MODULE__{length: length} = cache, count) when is_integer(length) do
    with_room(cache, nil, length + count)
  end

  @doc "Forgets everything after the first `length` positions."
  @impl true
  @spec trim(t(), non_neg_integer()) :: t()
  def trim(%__MODULE__{} = cache, length) when is_integer(length) and length >= 0, do: Cache.shortened(cache, length)

  @impl true
  def can_trim?(%__MODULE__{length: length}, kept), do: kept <= length

  @impl true
  def buffers(%__MODULE__{keys: keys, values: values}), do: {keys, values}

  @impl true
  def put_buffers(%__MODULE__{} = cache, {keys, values}, length) do
    %{cache | keys: keys, values: values, length: length}
  end
end
