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
  """

  use Mlx.Arguments.Mismatch

  alias Mlx.{Array, Native}

  @step 256

  @type t :: %__MODULE__{keys: Array.t() | nil, values: Array.t() | nil, length: non_neg_integer() | Array.t()}

  defstruct keys: nil, values: nil, length: 0

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

      iex> [queries, part] = [Mlx.ones({1, 4, 3, 8}), Mlx.ones({1, 2, 3, 8})]
      iex> {_output, cache} = Mlx.LM.KeyValueCache.attend(Mlx.LM.KeyValueCache.new(), queries, part, part)
      iex> {output, cache} = Mlx.LM.KeyValueCache.attend(cache, queries, part, part)
      iex> {output.shape, cache.length}
      {{1, 4, 3, 8}, 6}
  """
  @spec attend(t(), Array.t(), Array.t(), Array.t()) :: {Array.t(), t()}
  def attend(%__MODULE__{length: %Array{} = start} = cache, queries, keys, values) do
    attend_from(start, cache, queries, keys, values)
  end

  def attend(%__MODULE__{length: start} = cache, queries, keys, values) do
    length = start + Mlx.axis_size(keys, 2)
    roomy = with_room(cache, keys, values, length)
    {output, kept} = attend_from(Mlx.array(start), roomy, queries, keys, values)
    release([cache.keys, cache.values, roomy.keys, roomy.values])
    {output, %{kept | length: length}}
  end

  defp attend_from(start, cache, queries, keys, values) do
    scale = 1 / :math.sqrt(Mlx.axis_size(queries, 3))

    [output, keys, values] =
      Native.fast_cached_attention(queries, keys, values, cache.keys, cache.values, start, scale, nil)

    {output, %{cache | keys: keys, values: values}}
  end

  @doc """
  The cache with room for so many more positions. Some positions must be in it.

      iex> part = Mlx.ones({1, 2, 256, 4})
      iex> {_output, cache} = Mlx.LM.KeyValueCache.attend(Mlx.LM.KeyValueCache.new(), part, part, part)
      iex> {cache.keys.shape, Mlx.LM.KeyValueCache.make_room(cache, 1).keys.shape}
      {{1, 2, 256, 4}, {1, 2, 512, 4}}
  """
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
  @spec trim(t(), non_neg_integer()) :: t()
  def trim(%__MODULE__{} = cache, length) when is_integer(length) and length >= 0 do
    if is_integer(cache.length) and length > cache.length do
      raise ArgumentError,
            "Mlx.LM.KeyValueCache.trim: the cache has #{cache.length} positions, and cannot keep the first #{length}"
    end

    %{cache | length: length}
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

  defp release(buffers) do
    buffers |> Enum.reject(&is_nil/1) |> Enum.uniq() |> Enum.each(&Mlx.deallocate/1)
  end
end
