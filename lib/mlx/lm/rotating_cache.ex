defmodule Mlx.LM.RotatingCache do
  @moduledoc """
  The keys and values of the last positions, for attention that looks at a window of `window` positions: a position sees
  itself and the `window - 1` before it.

  They lie in buffers `{batch, heads, room, features}`. The one of the position `p` is at `rem(p, window)`, so that a new
  one takes the place of the one that left the window. The buffers grow by steps of 256 positions, from 2,048 on by an eighth, up to the window.

  With `keep`, the first `keep` positions stay, and single ones that come later see them and the last `window - keep`: those
  have the other places in turn. When several positions come at once, each sees the `window` entries up to its own of those
  that are kept and come, as in Python.

      cache = Mlx.LM.RotatingCache.new(512)
      {keys, values, mask, cache} = Mlx.LM.RotatingCache.update(cache, keys, values)

  Python: `RotatingKVCache` of `mlx_lm.models.cache`.
  """

  @behaviour Mlx.LM.Cache

  use Mlx.Arguments.Mismatch

  alias Mlx.Array
  alias Mlx.Arguments.{Given, Options}
  alias Mlx.LM.{Cache, CacheRows, KeyValueCache}

  @enforce_keys [:window]
  defstruct [:window, keep: 0, keys: nil, values: nil, length: 0]

  @type t :: %__MODULE__{
          window: pos_integer(),
          keep: non_neg_integer(),
          keys: Array.t() | nil,
          values: Array.t() | nil,
          length: non_neg_integer() | Array.t()
        }

  @doc """
  An empty cache for a window of so many positions.

  Options:

    * `:keep` - how many of the first positions stay, fewer than the window; default 0

  Examples:

      iex> Mlx.LM.RotatingCache.new(512).window
      512
  """
  @spec new(pos_integer(), keyword()) :: t()
  def new(window, options \\ [])

  def new(window, options) when is_integer(window) and window > 0 do
    [keep] = Options.without_stream(options, :"LM.RotatingCache.new", keep: 0)

    if not (is_integer(keep) and keep >= 0 and keep < window) do
      raise ArgumentError,
            "Mlx.LM.RotatingCache.new: expected :keep to be an integer from 0 to #{window - 1}, got: #{Given.text(keep)}"
    end

    %__MODULE__{window: window, keep: keep}
  end

  @doc """
  Adds the keys and values of the next positions, `{batch, heads, length, features}`.

  Returns the keys and values that these positions may look at, the mask that says who looks at whom (`nil`, `:causal`, or
  booleans `{length, keys}`, or `{batch, 1, 1, keys}` where each row has its own length), and the cache.

      iex> part = Mlx.ones({1, 2, 3, 8})
      iex> {_keys, _values, :causal, cache} = Mlx.LM.RotatingCache.update(Mlx.LM.RotatingCache.new(4), part, part)
      iex> {keys, _values, mask, cache} = Mlx.LM.RotatingCache.update(cache, part, part)
      iex> {keys.shape, mask.shape, cache.keys.shape, cache.length}
      {{1, 2, 7, 8}, {3, 7}, {1, 2, 4, 8}, 6}
  """
  @spec update(t(), Array.t(), Array.t()) :: {Array.t(), Array.t(), nil | :causal | Array.t(), t()}
  def update(
        %__MODULE__{length: %Array{shape: {_batch}} = start} = cache,
        %Array{shape: {_, _, 1, _}} = keys,
        %Array{} = values
      ) do
    positions = CacheRows.positions(start, 1)
    places = place(cache, positions)

    [keys, values] =
      for {old, new} <- [{cache.keys, keys}, {cache.values, values}], do: CacheRows.write(old, new, places)

    mask = CacheRows.seen(positions, Mlx.axis_size(keys, 2))
    {keys, values, mask, %{cache | keys: keys, values: values, length: Mlx.add(start, 1)}}
  end

  def update(%__MODULE__{length: start} = cache, %Array{shape: {_, _, 1, _}} = keys, %Array{} = values)
      when start != 0 do
    roomy = if is_integer(start), do: make_room(cache, 1), else: cache
    place = place(cache, start)
    written = %{roomy | keys: written(roomy.keys, keys, place), values: written(roomy.values, values, place)}
    if is_integer(start), do: KeyValueCache.release([cache.keys, cache.values, roomy.keys, roomy.values])
    {written.keys, written.values, filled(written, start), %{written | length: next(start, 1)}}
  end

  def update(%__MODULE__{length: 0, window: window} = cache, %Array{shape: {_, _, length, _}} = keys, %Array{} = values) do
    mask =
      cond do
        length == 1 -> nil
        length <= window -> :causal
        true -> seen(positions(0, length), positions(0, length), window)
      end

    {keys, values, mask, kept(cache, keys, values)}
  end

  def update(%__MODULE__{length: start} = cache, %Array{shape: {_, _, length, _}} = keys, %Array{} = values)
      when is_integer(start) do
    {_batch, _heads, room, _features} = cache.keys.shape
    new = positions(start, length)
    mask = seen(new, Mlx.concatenate([counted(cache, room), new]), cache.window)
    {both(cache.keys, keys), both(cache.values, values), mask, kept(cache, keys, values)}
  end

  # Where the keys and values of a position lie.
  defp place(%__MODULE__{window: window, keep: 0}, %Array{} = position), do: Mlx.remainder(position, window)

  defp place(%__MODULE__{window: window, keep: keep}, %Array{} = position) do
    turning = Mlx.add(Mlx.remainder(Mlx.subtract(position, keep), window - keep), keep)
    Mlx.select(Mlx.less(position, keep), position, turning)
  end

  defp place(%__MODULE__{keep: keep}, position) when position < keep, do: position
  defp place(%__MODULE__{window: window, keep: keep}, position), do: keep + rem(position - keep, window - keep)

  defp written(buffer, part, place), do: Mlx.put_slice(buffer, [0, 0, place, 0], part)
  defp both(old, new), do: Mlx.concatenate([old, new], axis: 2)
  defp next(%Array{} = length, count), do: Mlx.add(length, count)
  defp next(length, count), do: length + count
  defp positions(start, length), do: Mlx.arange(start, start + length, type: :s32)

  # Until the buffers are full, what lies behind the position is not yet written.
  defp filled(%__MODULE__{keys: %Array{shape: {_, _, room, _}}}, start) when is_integer(start) and start >= room - 1,
    do: nil

  defp filled(%__MODULE__{keys: %Array{shape: {_, _, room, _}}}, start) do
    Mlx.new_axis(Mlx.less_equal(Mlx.arange(0, room, type: :s32), start), 0)
  end

  # Which of the keys at some positions the queries at others see.
  defp seen(queries, keys, window) do
    [queries, keys] = [Mlx.new_axis(queries, 1), Mlx.new_axis(keys, 0)]

    keys
    |> Mlx.less_equal(queries)
    |> Mlx.logical_and(Mlx.greater(keys, Mlx.subtract(queries, window)))
    |> Mlx.logical_and(Mlx.greater_equal(keys, 0))
  end

  # The positions that the places of the buffers hold after `length` ones; negative where they hold nothing.
  defp places(length, room, %__MODULE__{window: window, keep: 0}) do
    back = Mlx.remainder(Mlx.subtract(length - 1 + window, Mlx.arange(0, room, type: :s32)), window)
    Mlx.subtract(length - 1, back)
  end

  defp places(length, room, %__MODULE__{window: window, keep: keep}) do
    all = Mlx.arange(0, room, type: :s32)
    # Turns enough that no difference is negative.
    turns = (window - keep) * (div(window, window - keep) + 1)
    back = Mlx.remainder(Mlx.subtract(length - 1 + turns, all), window - keep)
    turning = Mlx.subtract(length - 1, back)
    # The places of those that stay, and of none before the first that turns.
    turning = Mlx.select(Mlx.less(turning, keep), -1, turning)
    staying = Mlx.select(Mlx.less(all, length), all, -1)
    Mlx.select(Mlx.less(all, keep), staying, turning)
  end

  # The positions that they count as for several that come: those that stay stand right before the others, of which the
  # oldest gives way.
  defp counted(%__MODULE__{length: length, keep: 0} = cache, room), do: places(length, room, cache)

  defp counted(%__MODULE__{length: length, window: window, keep: keep} = cache, room) do
    left = max(length - (window - 1), 0)
    held = places(length, room, cache)
    staying? = Mlx.logical_and(Mlx.less(held, keep), Mlx.greater_equal(held, 0))
    turning = Mlx.select(Mlx.less(held, keep + left), -1, held)
    Mlx.select(staying?, Mlx.add(held, left), turning)
  end

  # The cache after these keys and values.
  defp kept(%__MODULE__{length: start, window: window} = cache, keys, values) do
    count = Mlx.axis_size(keys, 2)
    room = room(start + count, window)
    places = places(start + count, room, cache)
    index = places |> Mlx.subtract(start) |> Mlx.clip(0, count - 1)
    new? = places |> Mlx.greater_equal(start) |> Mlx.reshape({1, 1, room, 1})

    [keys, values] =
      for {buffer, part} <- [{cache.keys, keys}, {cache.values, values}] do
        new = Mlx.take(part, index, axis: 2)
        if start == 0, do: new, else: Mlx.select(new?, new, grown(buffer, room))
      end

    %{cache | keys: keys, values: values, length: start + count}
  end

  defp room(length, window), do: min(window, Cache.room(length))

  defp grown(%Array{shape: {_, _, room, _}} = buffer, wanted) when wanted <= room, do: buffer

  defp grown(%Array{shape: {batch, heads, room, features}, type: type} = buffer, wanted) do
    Mlx.concatenate([buffer, Mlx.zeros({batch, heads, wanted - room, features}, type: type)], axis: 2)
  end

  @impl true
  def buffers(%__MODULE__{keys: keys, values: values}), do: {keys, values}

  @impl true
  def put_buffers(%__MODULE__{} = cache, {keys, values}, length) do
    %{cache | keys: keys, values: values, length: length}
  end

  @impl true
  def make_room(%__MODULE__{length: length, window: window} = cache, count) do
    room = room(length + count, window)
    %{cache | keys: grown(cache.keys, room), values: grown(cache.values, room)}
  end

  @impl true
  def can_trim?(%__MODULE__{length: length, window: window}, kept) do
    kept in [0, length] or (kept < length and length <= window)
  end

  @impl true
  def trim(%__MODULE__{} = cache, length), do: %{cache | length: length}
end
