defmodule Mlx.LM.Server.Slots do
  @moduledoc false
  # Changes of the buffers of a cache, whose first axis has a slot for each row. The buffers that are changed are given up,
  # so that MLX writes in them where it can.

  alias Mlx.{Array, Tree}
  alias Mlx.LM.{Cache, StateCache}

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

  def with_room_of(cache, other) do
    case Cache.nested(cache) do
      [] ->
        {_slots, _heads, room, _features} = other.keys.shape
        with_room(cache, room - 1)

      nested ->
        struct!(cache, for({key, part} <- nested, do: {key, with_room_of(part, Map.fetch!(other, key))}))
    end
  end

  @doc """
  The cache of one row, that of a slot, which has read `length` positions. It has no more room than the row needs, where
  others need more. The cache is not given up.
  """
  @spec row(Cache.t(), non_neg_integer(), pos_integer()) :: Cache.t()
  def row(cache, slot, length) do
    cache |> Cache.put_buffers(Cache.buffers(cache), length) |> row(slot)
  end

  defp row(%StateCache{} = cache, slot), do: whole_row(cache, slot)

  defp row(%{length: length} = cache, slot) do
    case Cache.nested(cache) do
      [] ->
        Cache.put_buffers(cache, Tree.map(Cache.buffers(cache), &part_of_row(&1, slot, length)), length)

      nested ->
        cache |> without(nested) |> whole_row(slot) |> struct!(for {key, part} <- nested, do: {key, row(part, slot)})
    end
  end

  defp without(cache, nested), do: struct!(cache, for({key, _part} <- nested, do: {key, nil}))

  defp whole_row(cache, slot), do: Tree.map(cache, &part_of_row(&1, slot, nil))

  defp part_of_row(%Array{shape: shape} = buffer, slot, length) do
    [_slots | sizes] = Tuple.to_list(shape)
    sizes = if length, do: List.update_at(sizes, 1, &min(&1, Cache.room(max(length, 1)))), else: sizes
    buffer |> Mlx.slice([slot | List.duplicate(0, length(sizes))], [1 | sizes]) |> Mlx.contiguous()
  end

  defp put(cache, new, old) do
    # What stayed as it is is still needed.
    kept = Tree.arrays(new)
    for array <- Enum.uniq(old), array not in kept, do: Mlx.deallocate(array)
    Cache.put_buffers(cache, new, 0)
  end
end
