defmodule Mlx.LM.KeyValueCache do
  @moduledoc """
  The keys and values that one attention layer has computed so far, so that each token is computed once.

  They lie in buffers `{batch, heads, room, features}` with room for more. New ones are written into the buffers, which
  are made larger by a step of 256 positions when they are full.

      cache = Mlx.LM.KeyValueCache.new()
      {output, cache} = Mlx.LM.KeyValueCache.attend(cache, queries, keys, values)

  MLX writes in place only where nobody else holds the buffer. `attend/4` therefore gives up the buffers of the cache that
  it is given: go on with the one that it returns.

  In a function that is compiled once for all lengths, the length is an array without axes, and the
  caller gives up the buffers and sees to their room.

  With `stored: false` nothing is kept and nothing is given up: the cache of a call that reads whole texts and has
  gradients, for training.
  """

  @behaviour Mlx.LM.Cache

  use Mlx.Arguments.Mismatch

  alias Mlx.{Array, Fast, Native}
  alias Mlx.LM.Cache
  alias Mlx.Arguments.Options

  @step 256

  @type t :: %__MODULE__{
          keys: Array.t() | nil,
          values: Array.t() | nil,
          length: non_neg_integer() | Array.t(),
          stored: boolean()
        }

  defstruct keys: nil, values: nil, length: 0, stored: true

  @doc """
  An empty cache.

      iex> Mlx.LM.KeyValueCache.new().length
      0
  """
  @spec new() :: t()
  def new, do: %__MODULE__{}

  @doc """
  Adds the keys and values of the next positions, both of the shape `{batch, heads, length, features}`, and has the queries
  of these positions attend to all positions up to their own.

  Heads of queries share the heads of keys in groups. Returns the output, of the shape of the queries, and the cache that
  holds the keys and values.

  Options:

    * `:scale` - of the scores, default `1 / sqrt(features)`

      iex> [queries, part] = [Mlx.ones({1, 4, 3, 8}), Mlx.ones({1, 2, 3, 8})]
      iex> {_output, cache} = Mlx.LM.KeyValueCache.attend(Mlx.LM.KeyValueCache.new(), queries, part, part)
      iex> {output, cache} = Mlx.LM.KeyValueCache.attend(cache, queries, part, part)
      iex> {output.shape, cache.length}
      {{1, 4, 3, 8}, 6}
  """
  @spec attend(t(), Array.t(), Array.t(), Array.t(), keyword()) :: {Array.t(), t()}
  def attend(cache, queries, keys, values, options \\ [])

  def attend(%__MODULE__{stored: false} = cache, queries, keys, values, options) do
    [scale] = Options.without_stream(options, :"LM.KeyValueCache.attend", scale: nil)
    {keys, values, mask, cache} = update(cache, keys, values)
    scale = scale || 1 / :math.sqrt(Mlx.axis_size(queries, 3))
    {Fast.scaled_dot_product_attention(queries, keys, values, scale: scale, mask: mask), cache}
  end

  def attend(%__MODULE__{length: %Array{} = start} = cache, queries, keys, values, options) do
    attend_from(start, cache, queries, keys, values, options)
  end

  def attend(%__MODULE__{length: start} = cache, queries, keys, values, options) do
    length = start + Mlx.axis_size(keys, 2)
    roomy = with_room(cache, keys, values, length)
    {output, kept} = attend_from(Mlx.array(start), roomy, queries, keys, values, options)
    release([cache.keys, cache.values, roomy.keys, roomy.values])
    {output, %{kept | length: length}}
  end

  defp attend_from(start, cache, queries, keys, values, options) do
    [scale] = Options.without_stream(options, :"LM.KeyValueCache.attend", scale: nil)
    scale = scale || 1 / :math.sqrt(Mlx.axis_size(queries, 3))

    [output, keys, values] =
      Native.fast_cached_attention(queries, keys, values, cache.keys, cache.values, start, scale, nil)

    {output, %{cache | keys: keys, values: values}}
  end

  @doc """
  Adds the keys and values of the next positions, `{batch, heads, length, features}`, for attention of another kind than
  that of `attend/5`.

  Returns the keys and values that these positions may look at, the mask that says who looks at whom (`nil`, `:causal`, or
  booleans `{length, keys}`), and the cache.

      iex> part = Mlx.ones({1, 2, 3, 8})
      iex> {keys, _values, :causal, cache} = Mlx.LM.KeyValueCache.update(Mlx.LM.KeyValueCache.new(), part, part)
      iex> {keys.shape, cache.keys.shape, cache.length}
      {{1, 2, 3, 8}, {1, 2, 256, 8}, 3}
  """
  @spec update(t(), Array.t(), Array.t()) :: {Array.t(), Array.t(), nil | :causal | Array.t(), t()}
  def update(%__MODULE__{stored: false, length: 0} = cache, %Array{} = keys, %Array{} = values) do
    count = Mlx.axis_size(keys, 2)
    {keys, values, if(count > 1, do: :causal), %{cache | length: count}}
  end

  def update(%__MODULE__{length: %Array{} = start} = cache, %Array{} = keys, %Array{} = values) do
    count = Mlx.axis_size(keys, 2)
    kept = %{cache | keys: written(cache.keys, keys, start), values: written(cache.values, values, start)}
    places = Mlx.arange(0, Mlx.axis_size(kept.keys, 2), type: :s32)
    queries = Mlx.new_axis(Mlx.add(Mlx.arange(0, count, type: :s32), start), 1)
    mask = Mlx.less_equal(Mlx.new_axis(places, 0), queries)
    {kept.keys, kept.values, mask, %{kept | length: Mlx.add(start, count)}}
  end

  def update(%__MODULE__{length: start} = cache, %Array{} = keys, %Array{} = values) do
    count = Mlx.axis_size(keys, 2)
    length = start + count
    roomy = with_room(cache, keys, values, length)
    kept = %{roomy | keys: written(roomy.keys, keys, start), values: written(roomy.values, values, start)}
    release([cache.keys, cache.values, roomy.keys, roomy.values])
    mask = if count > 1, do: :causal
    {first(kept.keys, length), first(kept.values, length), mask, %{kept | length: length}}
  end

  defp written(buffer, part, place), do: Mlx.put_slice(buffer, [0, 0, place, 0], part)

  defp first(%Array{shape: {batch, heads, _room, features}} = buffer, length) do
    Mlx.slice(buffer, [0, 0, 0, 0], [batch, heads, length, features])
  end

  @doc """
  The cache with room for so many more positions. Some positions must be in it.

      iex> part = Mlx.ones({1, 2, 256, 4})
      iex> {_output, cache} = Mlx.LM.KeyValueCache.attend(Mlx.LM.KeyValueCache.new(), part, part, part)
      iex> {cache.keys.shape, Mlx.LM.KeyValueCache.make_room(cache, 1).keys.shape}
      {{1, 2, 256, 4}, {1, 2, 512, 4}}
  """
  @impl true
  @spec make_room(t(), non_neg_integer()) :: t()
  def make_room(%__MODULE__{keys: keys, values: values, length: length} = cache, count) when is_integer(length) do
    with_room(cache, keys, values, length + count)
  end

  @doc """
  Forgets everything after the first `length` positions.

      iex> part = Mlx.ones({1, 2, 3, 4})
      iex> {_output, cache} = Mlx.LM.KeyValueCache.attend(Mlx.LM.KeyValueCache.new(), part, part, part)
      iex> Mlx.LM.KeyValueCache.trim(cache, 1).length
      1
  """
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

  # The keys and values are of the shape that is kept, but for the number of positions.
  defp with_room(cache, keys, values, length) do
    %{cache | keys: with_room(cache.keys, keys, length), values: with_room(cache.values, values, length)}
  end

  defp with_room(nil, new, length), do: empty(new, length)

  defp with_room(%Array{shape: {_, _, room, _}} = buffer, _new, length) when length <= room, do: buffer

  defp with_room(buffer, new, length) do
    Mlx.concatenate([buffer, empty(new, length - Mlx.axis_size(buffer, 2))], axis: 2)
  end

  defp empty(%Array{shape: {batch, heads, _length, features}, type: type}, length) do
    Mlx.zeros({batch, heads, div(length + @step - 1, @step) * @step, features}, type: type)
  end

  @doc false
  def release(buffers) do
    buffers |> Enum.reject(&is_nil/1) |> Enum.uniq() |> Enum.each(&Mlx.deallocate/1)
  end
end
