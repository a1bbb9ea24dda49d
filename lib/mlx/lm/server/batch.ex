defmodule Mlx.LM.Server.Batch do
  @moduledoc false
  # The rows that are decoded together: their caches, as buffers whose first axis has a slot for each row, and how many
  # positions each has read. A row joins and leaves between two steps, and the others stay where they are.
  #
  #     step = Batch.compile(model)
  #     batch = model |> Batch.new(step) |> Batch.join(ref, caches, length, token)
  #     {greedy, logits, batch} = Batch.step(batch)          # {slots} and {slots, vocabulary}
  #     batch = Batch.put_tokens(batch, tokens)              # {slots}, what the next step reads
  #
  # There is a power of two of slots, and room for the longest row in steps of 256. MLX compiles a step for each pair of
  # these; how many positions the rows have are an array. A free slot has read nothing: what it computes goes nowhere.

  alias Mlx.Array
  alias Mlx.LM.{Cache, Decoder, KeyValueCache}
  alias Mlx.LM.Server.Slots

  # After so many steps with fewer rows than half of the slots, there are fewer slots.
  @patience 8

  @enforce_keys [:empty, :step]
  defstruct @enforce_keys ++ [:tokens, caches: [], slots: 0, rows: %{}, slack: 0]

  @typep step :: (Array.t(), [tuple()], Array.t() -> tuple())

  @type t :: %__MODULE__{
          empty: [Cache.t()],
          step: step,
          tokens: Array.t() | nil,
          caches: [Cache.t()],
          slots: non_neg_integer(),
          rows: %{reference() => {slot :: non_neg_integer(), length :: pos_integer()}},
          slack: non_neg_integer()
        }

  @doc "The step of a model, which batches of it share. `fit` makes of its logits what is wanted of them."
  @spec compile(Decoder.t(), (Array.t() -> Array.t())) :: step
  def compile(model, fit \\ & &1) do
    empty = Decoder.caches(model)
    Mlx.compile(&decode({model, empty, fit}, &1, &2, &3), donate: [1])
  end

  defp decode({model, empty, fit}, ids, buffers, lengths) do
    caches = Enum.zip_with(empty, buffers, &Cache.put_buffers(&1, &2, lengths))
    {logits, caches} = logits(model, ids, caches)
    logits = fit.(logits)
    {likeliest(logits), logits, Enum.map(caches, &Cache.buffers/1)}
  end

  @doc "The most probable tokens `{...}` of logits `{..., vocabulary}`."
  @spec likeliest(Array.t()) :: Array.t()
  def likeliest(%Array{} = logits), do: logits |> Mlx.argmax(axis: -1) |> Mlx.as_type(:s32)

  defp logits(model, %Array{shape: {_slots, _count}} = ids, caches), do: Decoder.logits(model, ids, caches)
  defp logits(model, tokens, caches), do: Decoder.call(model, Mlx.new_axis(tokens, 1), caches)

  @doc "Whether rows of a model can forget their last positions, as many as they like: its caches have all positions."
  @spec forgets?(Decoder.t()) :: boolean()
  def forgets?(model), do: model |> Decoder.caches() |> Enum.all?(&is_struct(&1, KeyValueCache))

  @doc "A batch without rows."
  @spec new(Decoder.t(), step) :: t()
  def new(model, step), do: %__MODULE__{empty: Decoder.caches(model), step: step}

  @doc "How many rows there are."
  @spec size(t()) :: non_neg_integer()
  def size(%__MODULE__{rows: rows}), do: map_size(rows)

  @doc "The slot of a row."
  @spec slot(t(), reference()) :: non_neg_integer()
  def slot(%__MODULE__{rows: rows}, ref), do: rows |> Map.fetch!(ref) |> elem(0)

  @doc """
  The batch with one more row: caches of one row that have read `length` positions, which are given up, and the token
  `{1}` that comes next.
  """
  @spec join(t(), reference(), [Cache.t()], pos_integer(), Array.t()) :: t()
  def join(%__MODULE__{slots: 0} = batch, ref, caches, length, token) do
    %{batch | caches: caches, tokens: token, slots: 1, rows: %{ref => {0, length}}, slack: 0}
  end

  def join(%__MODULE__{} = batch, ref, caches, length, token) do
    batch = with_slots(batch, Slots.round(size(batch) + 1))
    slot = Enum.find(0..(batch.slots - 1), &(&1 not in taken(batch)))
    joined = Enum.zip_with(batch.caches, caches, &put_row(&1, &2, slot))
    tokens = Mlx.put_slice(batch.tokens, [slot], token)
    %{batch | caches: joined, tokens: tokens, rows: Map.put(batch.rows, ref, {slot, length})}
  end

  defp taken(batch), do: for({_ref, {slot, _length}} <- batch.rows, do: slot)

  defp put_row(cache, row, slot) do
    {cache, row} = {Slots.with_room_of(cache, row), Slots.with_room_of(row, cache)}
    put = &Mlx.put_slice(&1, [slot | List.duplicate(0, tuple_size(&1.shape) - 1)], &2)
    Slots.zip(cache, row, put)
  end

  @doc "The batch without a row, whose slot is free then."
  @spec leave(t(), reference()) :: t()
  def leave(%__MODULE__{rows: rows} = batch, ref) do
    rows = Map.delete(rows, ref)
    if rows == %{}, do: emptied(batch), else: %{batch | rows: rows}
  end

  defp emptied(batch) do
    Cache.release(batch.caches)
    %{batch | caches: [], tokens: nil, slots: 0, rows: %{}, slack: 0}
  end

  @doc """
  Reads the next token of each row. Returns the most probable tokens after them, `{slots}`, the logits
  `{slots, vocabulary}`, and the batch. Nothing is evaluated.
  """
  @spec step(t()) :: {Array.t(), Array.t(), t()}
  def step(%__MODULE__{} = batch) do
    batch = batch |> fitted() |> with_room(1)
    buffers = Enum.map(batch.caches, &Cache.buffers/1)
    {greedy, logits, buffers} = batch.step.(batch.tokens, buffers, lengths(batch))
    caches = Enum.zip_with(batch.empty, buffers, &Cache.put_buffers(&1, &2, 0))
    rows = Map.new(batch.rows, fn {ref, {slot, length}} -> {ref, {slot, length + 1}} end)
    {greedy, logits, %{batch | caches: caches, rows: rows}}
  end

  @doc """
  Reads several tokens of each row, `{slots, count}`. Returns the most probable tokens after each of them, `{slots, count}`,
  the logits `{slots, count, vocabulary}`, and the batch, whose rows have read none of them until `put_length/3` says how
  many. Nothing is evaluated.
  """
  @spec check(t(), Array.t()) :: {Array.t(), Array.t(), t()}
  def check(%__MODULE__{} = batch, %Array{shape: {_slots, count}} = ids) do
    batch = with_room(batch, count)
    {greedy, logits, buffers} = batch.step.(ids, Enum.map(batch.caches, &Cache.buffers/1), lengths(batch))
    {greedy, logits, %{batch | caches: Enum.zip_with(batch.empty, buffers, &Cache.put_buffers(&1, &2, 0))}}
  end

  @doc """
  Has MLX compute what follows a step, and its caches, while the next step is built: the batch, what is gone on with, whose
  arrays nobody else has, and what is read. See `Mlx.Values.Ahead`.
  """
  @spec start(t(), continued, read) :: {t(), continued, read} when continued: term(), read: term()
  def start(%__MODULE__{} = batch, continued, read) do
    {caches, continued, read} = Cache.start(batch.caches, 0, continued, read, "Mlx.LM.Server.generate")
    {%{batch | caches: caches}, continued, read}
  end

  @doc "How many tokens a row has read."
  @spec read(t(), reference()) :: pos_integer()
  def read(%__MODULE__{rows: rows}, ref), do: rows |> Map.fetch!(ref) |> elem(1)

  @doc "The batch in which a row has read so many tokens, whatever it has read beyond them."
  @spec put_length(t(), reference(), pos_integer()) :: t()
  def put_length(%__MODULE__{} = batch, ref, length) do
    %{batch | rows: Map.update!(batch.rows, ref, fn {slot, _length} -> {slot, length} end)}
  end

  # One row alone is an array without axes, for which caches have the fastest attention.
  defp lengths(%__MODULE__{slots: 1, rows: rows}) do
    [{_ref, {0, length}}] = Map.to_list(rows)
    Mlx.array(length)
  end

  defp lengths(%__MODULE__{slots: slots, rows: rows}) do
    by_slot = Map.new(rows, fn {_ref, row} -> row end)
    Mlx.array(for(slot <- 0..(slots - 1), do: Map.get(by_slot, slot, 0)), type: :s32)
  end

  defp with_room(batch, count) do
    longest = batch.rows |> Enum.map(fn {_ref, {_slot, length}} -> length end) |> Enum.max()
    %{batch | caches: Enum.map(batch.caches, &Slots.with_room(&1, longest + count - 1))}
  end

  @doc "The tokens `{slots}` of these slots; those of the others do not matter."
  @spec tokens(t(), %{non_neg_integer() => non_neg_integer()}) :: Array.t() | nil
  def tokens(%__MODULE__{slots: 0}, _by_slot), do: nil

  def tokens(%__MODULE__{slots: slots}, by_slot),
    do: Mlx.array(for(slot <- 0..(slots - 1), do: Map.get(by_slot, slot, 0)), type: :s32)

  @doc "What `check/2` reads, of slots with up to `count` tokens each; the others do not matter."
  @spec ids(t(), %{non_neg_integer() => [non_neg_integer(), ...]}, pos_integer()) :: Array.t()
  def ids(%__MODULE__{slots: slots}, by_slot, count) do
    Mlx.array(
      for slot <- 0..(slots - 1) do
        ids = Map.get(by_slot, slot, [])
        ids ++ List.duplicate(0, count - length(ids))
      end,
      type: :s32
    )
  end

  @doc "The batch with the tokens `{slots}` that its rows read next."
  @spec put_tokens(t(), Array.t()) :: t()
  def put_tokens(%__MODULE__{} = batch, tokens), do: %{batch | tokens: tokens}

  @doc "The batch with fewer slots, where most have been free for a while."
  @spec fitted(t()) :: t()
  def fitted(batch) do
    wanted = Slots.round(size(batch))

    cond do
      wanted == batch.slots -> %{batch | slack: 0}
      batch.slack < @patience -> %{batch | slack: batch.slack + 1}
      true -> with_fewer(batch, wanted)
    end
  end

  defp with_fewer(batch, slots) do
    order = Enum.sort_by(batch.rows, fn {_ref, {slot, _length}} -> slot end)
    # What the slots without a row hold does not matter.
    index = Enum.map(order, fn {_ref, {slot, _length}} -> slot end)
    index = Mlx.array(index ++ List.duplicate(hd(index), slots - length(index)), type: :s32)
    rows = for {{ref, {_slot, length}}, slot} <- Enum.with_index(order), into: %{}, do: {ref, {slot, length}}
    caches = Enum.map(batch.caches, fn cache -> Slots.map(cache, &Mlx.take(&1, index, axis: 0)) end)
    %{batch | caches: caches, tokens: Mlx.take(batch.tokens, index, axis: 0), slots: slots, rows: rows, slack: 0}
  end

  defp with_slots(%__MODULE__{slots: now} = batch, slots) when slots <= now, do: batch

  defp with_slots(%__MODULE__{slots: now} = batch, slots) do
    more = fn %Array{shape: shape, type: type} = buffer ->
      Mlx.concatenate([buffer, Mlx.zeros(put_elem(shape, 0, slots - now), type: type)], axis: 0)
    end

    caches = Enum.map(batch.caches, &Slots.map(&1, more))
    %{batch | caches: caches, tokens: more.(batch.tokens), slots: slots, slack: 0}
  end
end
