defmodule Mlx.LM.KeyValueCache do
  @moduledoc """
  The keys and values that one attention layer has computed so far, so that each token is computed once.

  They lie in buffers `{batch, heads, room, features}` with room for more. New ones are written into the buffers, which
  are made larger by a step of 256 positions when they are full.

      cache = Mlx.LM.KeyValueCache.new()
      {keys, values, cache} = Mlx.LM.KeyValueCache.update(cache, new_keys, new_values)

  MLX writes in place only where nobody else holds the buffer. `update/3` therefore gives up the buffers of the cache that
  it is given: go on with the one that it returns.

  The length may be an array without axes, as for a function that is compiled once for all lengths (`Mlx.LM.Decoding`). Then
  the buffers are returned as a whole, with a mask of the positions that count, and are never made larger.
  """

  use Mlx.Mismatch

  alias Mlx.Array

  @step 256

  @type t :: %__MODULE__{keys: Array.t() | nil, values: Array.t() | nil, length: non_neg_integer() | Array.t()}

  @typedoc "The positions that count: all up to the own one, all, or those where an array is true."
  @type mask :: :causal | nil | Array.t()

  defstruct keys: nil, values: nil, length: 0

  @doc """
  An empty cache.

      iex> Mlx.LM.KeyValueCache.new().length
      0
  """
  @spec new() :: t()
  def new, do: %__MODULE__{}

  @doc """
  Adds the keys and values of the next positions, both of the shape `{batch, heads, length, features}`.

  Returns the keys and values of all positions, the mask for the queries of the next positions, and the cache that holds
  the keys and values.

      iex> part = Mlx.ones({1, 2, 3, 4})
      iex> {_keys, _values, _mask, cache} = Mlx.LM.KeyValueCache.update(Mlx.LM.KeyValueCache.new(), part, part)
      iex> {keys, _values, mask, cache} = Mlx.LM.KeyValueCache.update(cache, part, part)
      iex> {keys.shape, mask, cache.length}
      {{1, 2, 6, 4}, :causal, 6}
  """
  @spec update(t(), Array.t(), Array.t()) :: {Array.t(), Array.t(), mask(), t()}
  def update(%__MODULE__{length: %Array{} = start} = cache, keys, values) do
    keys = Mlx.put_slice(cache.keys, [0, 0, start, 0], keys)
    values = Mlx.put_slice(cache.values, [0, 0, start, 0], values)
    positions = Mlx.arange(Mlx.axis_size(keys, 2))
    {keys, values, Mlx.less_equal(positions, start), %{cache | keys: keys, values: values, length: Mlx.add(start, 1)}}
  end

  def update(%__MODULE__{length: start} = cache, keys, values) do
    length = start + Mlx.axis_size(keys, 2)
    # A single query is the last position and may look at all others.
    mask = if Mlx.axis_size(keys, 2) > 1, do: :causal
    keys = write(cache.keys, keys, start)
    values = write(cache.values, values, start)
    {first(keys, length), first(values, length), mask, %{cache | keys: keys, values: values, length: length}}
  end

  @doc """
  The cache with room for so many more positions. Some positions must be in it.

      iex> part = Mlx.ones({1, 2, 256, 4})
      iex> {_keys, _values, _mask, cache} = Mlx.LM.KeyValueCache.update(Mlx.LM.KeyValueCache.new(), part, part)
      iex> {cache.keys.shape, Mlx.LM.KeyValueCache.make_room(cache, 1).keys.shape}
      {{1, 2, 256, 4}, {1, 2, 512, 4}}
  """
  @spec make_room(t(), non_neg_integer()) :: t()
  def make_room(%__MODULE__{keys: keys, values: values, length: length} = cache, count) when is_integer(length) do
    %{cache | keys: with_room(keys, keys, length + count), values: with_room(values, values, length + count)}
  end

  @doc """
  Forgets everything after the first `length` positions.

      iex> part = Mlx.ones({1, 2, 3, 4})
      iex> {_keys, _values, _mask, cache} = Mlx.LM.KeyValueCache.update(Mlx.LM.KeyValueCache.new(), part, part)
      iex> Mlx.LM.KeyValueCache.trim(cache, 1).length
      1
  """
  @spec trim(t(), non_neg_integer()) :: t()
  def trim(%__MODULE__{} = cache, length) when is_integer(length) and length >= 0 do
    if is_integer(cache.length) and length > cache.length do
      raise ArgumentError,
            "Mlx.LM.KeyValueCache.trim: the cache has #{cache.length} positions, and cannot keep the first #{length}"
    end

    %{cache | length: length}
  end

  defp write(buffer, new, start) do
    room = with_room(buffer, new, start + Mlx.axis_size(new, 2))
    written = Mlx.put_slice(room, [0, 0, start, 0], new)
    release([buffer, room])
    written
  end

  defp with_room(nil, new, length), do: empty(new, length)

  defp with_room(%Array{shape: {_, _, room, _}} = buffer, _new, length) when length <= room, do: buffer

  defp with_room(buffer, new, length) do
    Mlx.concatenate([buffer, empty(new, length - Mlx.axis_size(buffer, 2))], axis: 2)
  end

  defp empty(%Array{shape: {batch, heads, _length, features}, type: type}, length) do
    Mlx.zeros({batch, heads, div(length + @step - 1, @step) * @step, features}, type: type)
  end

  defp first(buffer, length) do
    {batch, heads, _room, features} = buffer.shape
    Mlx.slice(buffer, [0, 0, 0, 0], [batch, heads, length, features])
  end

  defp release(buffers) do
    buffers |> Enum.reject(&is_nil/1) |> Enum.uniq() |> Enum.each(&Mlx.deallocate/1)
  end
end
