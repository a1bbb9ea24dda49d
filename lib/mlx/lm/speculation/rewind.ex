defmodule Mlx.LM.Speculation.Rewind do
  @moduledoc false
  # Caches that forget what was read of drafts that were not accepted.
  #
  #     kept = Rewind.keep(caches, count)                          # before `count` positions are read
  #     caches = Rewind.to(caches, kept, start, wanted)            # `start` positions were read before them
  #
  # Caches of all positions forget the last ones. Recurrent states and windows that are full cannot: a copy of them is
  # made, and where they read too much, all caches are at `start` again, and what was right is read once more.

  alias Mlx.{Array, Tree}
  alias Mlx.LM.Cache

  # A copy of each cache that cannot be trimmed, and nil for the others; nil where all can.
  @type kept :: [Cache.t() | nil] | nil

  @doc "What is kept to rewind caches after so many more positions."
  @spec keep([Cache.t()], pos_integer()) :: kept()
  def keep(caches, count) do
    copies = for cache <- caches, do: if(trims?(cache, count), do: nil, else: Tree.map(cache, &copy/1))
    if Enum.all?(copies, &is_nil/1), do: nil, else: copies
  end

  defp copy(%Array{} = array), do: Mlx.copy(array)

  defp trims?(%kind{length: length} = cache, count) do
    kind.can_trim?(%{cache | length: length + count}, length + 1)
  end

  @doc """
  The caches with `wanted` positions where they can have that, and otherwise with `start` ones.
  """
  @spec to([Cache.t()], kept(), non_neg_integer(), non_neg_integer()) :: [Cache.t()]
  def to([%{length: wanted} | _] = caches, kept, _start, wanted) do
    Cache.release(for copy <- kept || [], copy != nil, do: copy)
    caches
  end

  def to(caches, nil, _start, wanted) do
    Enum.map(caches, fn %kind{} = cache -> kind.trim(cache, wanted) end)
  end

  def to(caches, kept, start, _wanted) do
    Enum.zip_with(caches, kept, fn
      %kind{} = cache, nil ->
        kind.trim(cache, start)

      cache, copy ->
        Cache.release(cache)
        copy
    end)
  end
end
