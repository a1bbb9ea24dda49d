defmodule Mlx.LM.Server.Slots do
  @moduledoc false
  # Changes of the buffers of a cache, whose first axis has a slot for each row. The buffers that are changed are given up,
  # so that MLX writes in them where it can.

  alias Mlx.{Array, Tree}
  alias Mlx.LM.{Cache, CachePair, CompressedCache, StateCache}

  @doc "The power of two from a number of rows on."
  @spec round(pos_integer()) :: pos_integer()
  def round(1), do: 1
  def round(count), do: 2 * __MODULE__.round(div(count + 1, 2))

  @doc "The cache with other buffers, made by `fun` of each."
  @spec map(Cache.t(), (Array.t() -> Array.t())) :: Cache.t()
  def map(cache, fun) do
    old = Cache.buffers(cache)
    put(cache, Tree.map(old, fun), Tree.arrays(old))
  end

  @doc "The cache with other buffers, made by `fun` of those of two."
  @spec zip(Cache.t(), Cache.t(), (Array.t(), Array.t() -> Array.t())) :: Cache.t()
  def zip(cache, other, fun) do
    [old, others] = [Cache.buffers(cache), Cache.buffers(other)]
    put(cache, Tree.merge(old, others, fun), Tree.arrays({old, others}))
  end

  @doc "The cache with room for the position after `length` ones."
  @spec with_room(Cache.t(), non_neg_integer()) :: Cache.t()
  def with_room(cache, length) do
    old = Cache.buffers(cache)
    grown = cache |> Cache.put_buffers(old, length) |> Cache.make_room(1)
    put(grown, Cache.buffers(grown), Tree.arrays(old))
  end

  @doc "The cache with at least as much room as another one has."
  @spec with_room_of(Cache.t(), Cache.t()) :: Cache.t()
  def with_room_of(%StateCache{} = cache, _other), do: cache

  def with_room_of(%CachePair{} = pair, other) do
    %{pair | first: with_room_of(pair.first, other.first), second: with_room_of(pair.second, other.second)}
  end

  def with_room_of(%CompressedCache{} = cache, other) do
    %{cache | window: with_room_of(cache.window, other.window), entries: with_room_of(cache.entries, other.entries)}
  end

  def with_room_of(cache, other) do
    {_slots, _heads, room, _features} = other.keys.shape
    with_room(cache, room - 1)
  end

  defp put(cache, new, old) do
    # What stayed as it is is still needed.
    kept = Tree.arrays(new)
    for array <- Enum.uniq(old), array not in kept, do: Mlx.deallocate(array)
    Cache.put_buffers(cache, new, 0)
  end
end
