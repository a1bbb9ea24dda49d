defmodule Mlx.LM.Server.Slots do
  @moduledoc false
  # Changes of the buffers of a cache, whose first axis has a slot for each row. The buffers that are changed are given up,
  # so that MLX writes in them where it can.

  alias Mlx.Array
  alias Mlx.LM.{Cache, StateCache}

  @doc "The power of two from a number of rows on."
  @spec round(pos_integer()) :: pos_integer()
  def round(1), do: 1
  def round(count), do: 2 * __MODULE__.round(div(count + 1, 2))

  @doc "The cache with other buffers, made by `fun` of each."
  @spec map(Cache.t(), (Array.t() -> Array.t())) :: Cache.t()
  def map(cache, fun) do
    old = buffers(cache)
    put(cache, Enum.map(old, fun), old)
  end

  @doc "The cache with other buffers, made by `fun` of those of two."
  @spec zip(Cache.t(), Cache.t(), (Array.t(), Array.t() -> Array.t())) :: Cache.t()
  def zip(cache, other, fun) do
    [old, others] = [buffers(cache), buffers(other)]
    put(cache, Enum.zip_with(old, others, fun), old ++ others)
  end

  @doc "The cache with room for the position after `length` ones."
  @spec with_room(Cache.t(), non_neg_integer()) :: Cache.t()
  def with_room(cache, length) do
    old = buffers(cache)
    grown = Cache.make_room(%{cache | length: length}, 1)
    put(grown, buffers(grown), old)
  end

  @doc "The cache with at least as much room as another one has."
  @spec with_room_of(Cache.t(), Cache.t()) :: Cache.t()
  def with_room_of(%StateCache{} = cache, _other), do: cache

  def with_room_of(cache, other) do
    {_slots, _heads, room, _features} = other.keys.shape
    with_room(cache, room - 1)
  end

  defp buffers(cache), do: cache |> Cache.buffers() |> Tuple.to_list()

  defp put(cache, new, old) do
    # What stayed as it is is still needed.
    for array <- Enum.uniq(old), array not in new, do: Mlx.deallocate(array)
    Cache.put_buffers(cache, List.to_tuple(new), 0)
  end
end
