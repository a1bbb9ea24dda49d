defmodule Mlx.LM.CompressedCache do
  @moduledoc false
  # What attention to a window and to compressed entries keeps: the window, the entries, beside those of an indexer, and the
  # rows of which the next entries are made. The entry of a window of positions that is not complete is among them.

  @behaviour Mlx.LM.Cache

  alias Mlx.LM.{Cache, KeyValueCache, RotatingCache}

  @enforce_keys [:window, :ratio]
  defstruct [:window, :ratio, entries: %KeyValueCache{}, rows: nil, length: 0]

  @type t :: %__MODULE__{
          window: RotatingCache.t(),
          ratio: pos_integer(),
          entries: KeyValueCache.t(),
          rows: tuple() | nil
        }

  @doc "An empty cache for a window, and entries for so many positions each."
  @spec new(pos_integer(), pos_integer()) :: t()
  def new(window, ratio), do: %__MODULE__{window: RotatingCache.new(window), ratio: ratio}

  @impl true
  def buffers(%__MODULE__{} = cache), do: {Cache.buffers(cache.window), Cache.buffers(cache.entries), cache.rows}

  @impl true
  def put_buffers(%__MODULE__{} = cache, {window, entries, rows}, length) do
    window = Cache.put_buffers(cache.window, window, length)
    entries = Cache.put_buffers(cache.entries, entries, complete(length, cache.ratio))
    %{cache | window: window, entries: entries, rows: rows, length: length}
  end

  # How many entries are complete after so many positions.
  defp complete(length, ratio) when is_integer(length), do: div(length, ratio)
  defp complete(length, ratio), do: Mlx.floor_divide(length, ratio)

  @doc "The cache after it has the rows, the window and the entries of so many more positions."
  @spec put(t(), RotatingCache.t(), KeyValueCache.t(), tuple()) :: t()
  def put(%__MODULE__{} = cache, window, entries, rows) do
    entries = %{entries | length: complete(window.length, cache.ratio)}
    %{cache | window: window, entries: entries, rows: rows, length: window.length}
  end

  @impl true
  def make_room(%__MODULE__{} = cache, count) do
    # The next position has an entry beside those that are complete.
    entries = Cache.make_room(cache.entries, div(count, cache.ratio) + 1)
    %{cache | window: Cache.make_room(cache.window, count), entries: entries}
  end

  @impl true
  def can_trim?(%__MODULE__{length: length}, kept), do: kept in [0, length]

  @impl true
  def trim(%__MODULE__{length: length} = cache, length), do: cache
  def trim(%__MODULE__{window: window, ratio: ratio}, 0), do: new(window.window, ratio)
end
