defmodule Mlx.LM.Server.Drafter do
  @moduledoc false
  # The draft model of a server, which drafts the next tokens of many requests at once, in a batch of its own.
  # `Mlx.LM.Speculation.DraftModel` does the same for one generation, and a request has the same drafts from both.
  #
  #     drafter = Drafter.join(drafter, ref, caches, length)
  #     {drafts, drafter} = Drafter.draft(drafter, %{ref => {row, count}})
  #     drafter = Drafter.settle(drafter, ref, length)           # the number of tokens that the larger model has read
  #
  # A row has read all tokens of its text but the last one, or the last two where all drafts of the round before were
  # accepted, because the last one of them is not read to draft it.

  alias Mlx.Array
  alias Mlx.LM.{Cache, Decoder, Sampler}
  alias Mlx.LM.Sampler.Distribution
  alias Mlx.LM.Server.{Batch, Choosing, PromptCache, Row}
  alias Mlx.LM.Speculation.{DraftModel, Verdict}

  @enforce_keys [:model, :batch, :draw, :prompts]
  defstruct @enforce_keys

  @typep batch :: Batch.t()
  @typep prompts :: PromptCache.t()

  @type t :: %__MODULE__{model: Decoder.t(), batch: batch, draw: function(), prompts: prompts}

  @typedoc """
  Draft tokens, with the probabilities `{1, vocabulary}` that they were drawn by, which are nil where they were not drawn; the
  sampler that the larger model chooses with, and the key of `Mlx.LM.Speculation.Verdict.of/5`.
  """
  @type draft :: {[non_neg_integer()], [Array.t()] | nil, Sampler.t(), Array.t() | nil}

  @doc "The drafter of a model, for one whose logits have `vocabulary` elements, which keeps so many bytes of prompts."
  @spec new(Decoder.t(), pos_integer(), non_neg_integer()) :: t()
  def new(model, vocabulary, limit) do
    %__MODULE__{
      model: model,
      batch: Batch.new(model, Batch.compile(model, &DraftModel.fitted(&1, vocabulary))),
      draw: Mlx.compile(&draw/3),
      prompts: PromptCache.new(limit)
    }
  end

  defp draw(sampler, logits, slot), do: Distribution.sample(sampler, Mlx.take(logits, slot, axis: 0))

  @doc "Whether a text of so many tokens has room for drafts."
  @spec room?(t(), pos_integer()) :: boolean()
  def room?(%__MODULE__{model: model}, total), do: total <= model.config.context_length

  @doc "Whether there are drafts for a request."
  @spec member?(t(), reference()) :: boolean()
  def member?(%__MODULE__{batch: batch}, ref), do: is_map_key(batch.rows, ref)

  @doc "The drafter with a row whose caches, which are given up, have read so many tokens."
  @spec join(t(), reference(), [Cache.t()], pos_integer()) :: t()
  def join(%__MODULE__{} = drafter, ref, caches, length) do
    %{drafter | batch: Batch.join(drafter.batch, ref, caches, length, Mlx.array([0], type: :s32))}
  end

  @doc "The drafter without a row, if it had one."
  @spec drop(t(), reference()) :: t()
  def drop(%__MODULE__{} = drafter, ref) do
    if member?(drafter, ref), do: %{drafter | batch: Batch.leave(drafter.batch, ref)}, else: drafter
  end

  @doc "As `drop/2`, where the row's text is `ids`. What was read of it is kept for requests that begin alike."
  @spec leave(t(), reference(), [non_neg_integer(), ...]) :: t()
  def leave(%__MODULE__{batch: batch, prompts: %{limit: limit}} = drafter, ref, ids)
      when limit > 0 and is_map_key(batch.rows, ref) do
    {slot, read} = batch.rows[ref]
    length = min(read, length(ids))
    caches = PromptCache.of_row(batch.caches, slot, length)
    prompts = PromptCache.put(drafter.prompts, Enum.take(ids, length), caches)
    Cache.release(caches)
    drop(%{drafter | prompts: prompts}, ref)
  end

  def leave(drafter, ref, _ids), do: drop(drafter, ref)

  @doc "The drafter after a round, after which the larger model has read so many tokens of a row: it forgets all others."
  @spec settle(t(), reference(), pos_integer()) :: t()
  def settle(%__MODULE__{batch: batch} = drafter, ref, length) do
    if member?(drafter, ref),
      do: %{drafter | batch: Batch.put_length(batch, ref, min(Batch.read(batch, ref), length))},
      else: drafter
  end

  @doc """
  Up to `count` drafts of each row, `%{ref => {row, count}}`, all of which are members. In place of drafts it is what a
  function of the user's own raised. Rows that the draft model's context has no room for get none, and are no longer members.
  """
  @spec draft(t(), %{reference() => {Row.t(), pos_integer()}}) :: {%{reference() => draft | {:error, String.t()}}, t()}
  def draft(%__MODULE__{} = drafter, wanted) do
    {wanted, over} = Map.split_with(wanted, fn {_ref, {row, _count}} -> room?(drafter, Row.total(row)) end)
    drafter = Enum.reduce(Map.keys(over), drafter, &drop(&2, &1))
    if wanted == %{}, do: {%{}, drafter}, else: drafted(drafter, wanted)
  end

  defp drafted(drafter, wanted) do
    batch = Batch.fitted(drafter.batch)
    starts = Map.new(batch.rows, fn {ref, {_slot, length}} -> {ref, length} end)
    rows = Map.new(wanted, fn {ref, {row, count}} -> {ref, drafting(drafter, row, count, starts[ref])} end)
    most = rows |> Enum.map(fn {_ref, row} -> row.count end) |> Enum.max()
    {tokens, rows, batch} = choose(first(batch, rows), rows, 1, most)

    # What was read of rows that wanted fewer drafts, and of those that wanted none, is of no use.
    read = for {ref, row} <- rows, into: starts, do: {ref, starts[ref] + length(row.unread) + row.count - 1}
    batch = Enum.reduce(read, batch, fn {ref, length}, batch -> Batch.put_length(batch, ref, length) end)
    tokens = for array <- tokens, do: array |> Mlx.to_list() |> List.to_tuple()
    {Map.new(rows, fn {ref, row} -> {ref, told(row, tokens)} end), %{drafter | batch: batch}}
  end

  # What the drafts of a row are made of, and where they are among the tokens of each step, the latest first.
  defp drafting(drafter, row, count, start) do
    total = Row.total(row)
    {next, sampler, key} = Verdict.keys(row.sampler)

    %{
      unread: row.fed |> Enum.take(total - start) |> Enum.reverse(),
      count: min(count, drafter.model.config.context_length - total + 1),
      sampler: sampler,
      draw: if(Choosing.shared?(sampler), do: drafter.draw, else: &draw/3),
      slots: [],
      probabilities: [],
      failed: nil,
      next: next,
      key: key
    }
  end

  # The step after the last token of each text, as `Batch.step/1` gives it.
  defp first(batch, rows) do
    unread = Map.new(rows, fn {ref, row} -> {Batch.slot(batch, ref), row.unread} end)

    case unread |> Enum.map(fn {_slot, ids} -> length(ids) end) |> Enum.max() do
      1 ->
        tokens = Batch.tokens(batch, Map.new(unread, fn {slot, [id]} -> {slot, id} end))
        batch |> Batch.put_tokens(tokens) |> Batch.step()

      count ->
        {greedy, logits, batch} = Batch.check(batch, Batch.ids(batch, unread, count))
        places = for slot <- 0..(batch.slots - 1), do: length(Map.get(unread, slot, [0])) - 1
        places = Mlx.array(places, type: :s32)
        {at(greedy, places), at(logits, places), Enum.reduce(rows, batch, &read_first/2)}
    end
  end

  defp read_first({ref, row}, batch), do: Batch.put_length(batch, ref, Batch.read(batch, ref) + length(row.unread))

  # Of `{slots, count, ...}` one place of each slot.
  defp at(%Array{shape: shape} = array, %Array{shape: {slots}} = places) do
    index = Mlx.reshape(places, List.to_tuple([slots | List.duplicate(1, tuple_size(shape) - 1)]))
    array |> Mlx.take_along_axis(Mlx.broadcast(index, put_elem(shape, 1, 1)), axis: 1) |> Mlx.squeeze(axes: [1])
  end

  # The tokens `{slots}` of each step from this one on.
  defp choose({greedy, logits, batch}, rows, number, most) do
    chosen = for {ref, %{count: count} = row} <- rows, count >= number, do: choose(row, ref, logits, batch)
    drawn = for {_row, _ref, slot, token, _probabilities} <- chosen, token != nil, into: %{}, do: {slot, token}
    tokens = Choosing.tokens(greedy, drawn)
    Mlx.async_eval({tokens, for({_row, _ref, _slot, _token, probabilities} <- chosen, do: probabilities)})
    for array <- Enum.uniq([greedy, logits]), array != tokens, do: Mlx.deallocate(array)

    rows =
      for {row, ref, slot, _token, probabilities} <- chosen, into: rows do
        {ref, %{row | slots: [slot | row.slots], probabilities: [probabilities | row.probabilities]}}
      end

    if number == most do
      {[tokens], rows, batch}
    else
      {after_it, rows, batch} = batch |> Batch.put_tokens(tokens) |> Batch.step() |> choose(rows, number + 1, most)
      {[tokens | after_it], rows, batch}
    end
  end

  # The row with the sampler after it, and its token `{1}` and probabilities where it does not take the most probable token.
  defp choose(row, ref, logits, batch) do
    slot = Batch.slot(batch, ref)

    if Choosing.greedy?(row.sampler) or row.failed do
      {row, ref, slot, nil, nil}
    else
      {token, probabilities, sampler} = row.draw.(row.sampler, logits, Mlx.array([slot], type: :s32))
      {%{row | sampler: sampler}, ref, slot, token, probabilities}
    end
  rescue
    error -> {%{row | failed: Exception.message(error)}, ref, Batch.slot(batch, ref), nil, nil}
  end

  defp told(%{failed: text}, _tokens) when text != nil, do: {:error, text}

  defp told(row, tokens) do
    ids = Enum.zip_with(tokens, Enum.reverse(row.slots), &elem/2)
    probabilities = Enum.reverse(row.probabilities)
    {ids, if(hd(probabilities), do: probabilities), row.next, row.key}
  end
end
