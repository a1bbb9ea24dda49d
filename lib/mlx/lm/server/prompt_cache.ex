defmodule Mlx.LM.Server.PromptCache do
  @moduledoc false
  # What was read of earlier prompts and answers, for requests that begin alike: caches by the tokens that they have read.
  # They take so many bytes at most; those that were used the longest time ago go first.
  #
  #     {caches, length} = PromptCache.take(cache, ids)     # a copy of caches that have read the first tokens, or nil
  #     cache = PromptCache.put(cache, ids, caches)
  #
  # Caches of keys and values can forget what stands behind the common tokens. Those of recurrent layers and of sliding
  # windows that were left cannot, so they serve prompts that begin with all of their tokens. `borders/3` says where a prompt is
  # stopped for that, to put them here.

  alias Mlx.{Array, Tree}
  alias Mlx.LM.{Cache, KeyValueCache}
  alias Mlx.LM.Server.{Slots, TokenTrie}

  @enforce_keys [:limit]
  defstruct @enforce_keys ++ [bytes: 0, trie: TokenTrie.new(), entries: %{}]

  @typep entry :: %{ids: [non_neg_integer()], caches: [Cache.t()], bytes: pos_integer(), used: integer()}
  @typep trie :: TokenTrie.t()

  @type t :: %__MODULE__{
          limit: non_neg_integer(),
          bytes: non_neg_integer(),
          trie: trie,
          entries: %{integer() => entry}
        }

  @doc "An empty cache of so many bytes at most."
  @spec new(non_neg_integer()) :: t()
  def new(limit), do: %__MODULE__{limit: limit}

  @doc """
  Caches that have read the first of some tokens, as many as are known, and not the last one; nil where there are none. The
  length of each says how many these are.
  """
  @spec take(t(), [non_neg_integer(), ...]) :: {[Cache.t()], t()} | {nil, t()}
  def take(%__MODULE__{} = cache, ids) do
    case find(cache, ids) do
      nil ->
        {nil, cache}

      {length, id} ->
        caches = for kept <- cache.entries[id].caches, do: kept |> copy() |> trimmed(length)
        {caches, used(cache, id)}
    end
  end

  @doc "Of how many tokens `take/2` has caches."
  @spec known(t(), [non_neg_integer(), ...]) :: non_neg_integer()
  def known(%__MODULE__{} = cache, ids) do
    case find(cache, ids) do
      nil -> 0
      {length, _id} -> length
    end
  end

  # The entry that knows the most of the tokens but for the last one, and how many these are.
  defp find(cache, ids) do
    {whole, common} = TokenTrie.find(cache.trie, ids)
    most = length(ids) - 1
    best(cache, Enum.find(whole, fn {length, _id} -> length <= most end), common, most)
  end

  defp best(cache, whole, {count, id}, most) do
    count = min(count, most)
    shorter = if whole, do: elem(whole, 0), else: 0
    trims? = Enum.all?(cache.entries[id].caches, fn %kind{} = kept -> kind.can_trim?(kept, count) end)
    if count > shorter and trims?, do: {count, id}, else: whole
  end

  defp best(_cache, whole, nil, _most), do: whole

  defp trimmed(%_kind{length: length} = cache, length), do: cache
  defp trimmed(%kind{} = cache, length), do: kind.trim(cache, length)

  # Other handles of the same arrays. MLX writes into a buffer in place only where no other has it.
  defp copy(%kind{length: length} = cache) do
    kind.put_buffers(cache, Tree.map(Cache.buffers(cache), &handle/1), length)
  end

  defp handle(%Array{shape: shape} = array),
    do: Mlx.slice(array, List.duplicate(0, tuple_size(shape)), Tuple.to_list(shape))

  @doc """
  The cache with caches that have read these tokens. The caller keeps the caches.
  """
  @spec put(t(), [non_neg_integer(), ...], [Cache.t()]) :: t()
  def put(%__MODULE__{limit: 0} = cache, _ids, _caches), do: cache

  def put(%__MODULE__{} = cache, ids, caches) do
    bytes = caches |> Tree.arrays() |> Enum.map(&Mlx.byte_size/1) |> Enum.sum()
    count = length(ids)
    {whole, common} = TokenTrie.find(cache.trie, ids)

    cond do
      bytes > cache.limit -> cache
      all_trim?(caches) and match?({^count, _id}, common) -> used(cache, elem(common, 1))
      true -> put(cache, ids, caches, bytes, for({length, id} <- whole, length == count or all_trim?(caches), do: id))
    end
  end

  @doc "All that is kept: tokens and caches, of which the caller gives up nothing."
  @spec entries(t()) :: [{[non_neg_integer()], [Cache.t()]}]
  def entries(%__MODULE__{entries: entries}), do: for({_id, %{ids: ids, caches: caches}} <- entries, do: {ids, caches})

  defp used(cache, id), do: put_in(cache.entries[id].used, System.unique_integer([:monotonic]))

  # What was served by others that the new caches serve as well goes.
  defp put(cache, ids, caches, bytes, served) do
    cache = Enum.reduce(served, cache, &delete(&2, &1))
    id = System.unique_integer([:monotonic])
    entry = %{ids: ids, caches: Enum.map(caches, &copy/1), bytes: bytes, used: id}

    within(%{
      cache
      | bytes: cache.bytes + bytes,
        trie: TokenTrie.put(cache.trie, ids, id),
        entries: Map.put(cache.entries, id, entry)
    })
  end

  defp within(%{bytes: bytes, limit: limit} = cache) when bytes <= limit, do: cache

  defp within(cache) do
    {id, _entry} = Enum.min_by(cache.entries, fn {_id, entry} -> entry.used end)
    cache |> delete(id) |> within()
  end

  defp delete(cache, id) do
    {entry, entries} = Map.pop!(cache.entries, id)
    Cache.release(entry.caches)
    %{cache | bytes: cache.bytes - entry.bytes, trie: TokenTrie.delete(cache.trie, entry.ids), entries: entries}
  end

  @doc """
  Where the reading of a prompt stops to put its caches here: where messages end, which is known to the request, and before the
  last token. Caches of keys and values alone need no stop.
  """
  @spec borders(t(), [Cache.t()], [pos_integer()], pos_integer()) :: [pos_integer()]
  def borders(%__MODULE__{limit: 0}, _caches, _messages, _count), do: []

  def borders(_cache, caches, messages, count) do
    if all_trim?(caches), do: [], else: Enum.uniq(Enum.sort([count - 1 | messages])) -- [0]
  end

  @doc "Whether caches can forget any of their last positions."
  @spec all_trim?([Cache.t()]) :: boolean()
  def all_trim?(caches), do: Enum.all?(caches, &trims?/1)

  defp trims?(%KeyValueCache{}), do: true

  defp trims?(cache) do
    nested = Cache.nested(cache)
    nested != [] and Enum.all?(nested, fn {_key, part} -> trims?(part) end)
  end

  @doc "The caches of the row of a slot, which has read `length` positions, as caches of one row."
  @spec of_row([Cache.t()], non_neg_integer(), pos_integer()) :: [Cache.t()]
  def of_row(caches, slot, length) do
    rows = for cache <- caches, do: Slots.row(cache, slot, length)
    Mlx.async_eval(rows)
  end
end
