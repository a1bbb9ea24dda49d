defmodule Mlx.LM.Server.Prompts do
  @moduledoc false
  # The prompts that are read. Each has its turn, so that a short one does not wait for a long one. In each turn up to
  # `:prefill_step` tokens are read: of one prompt, or of several short ones. At its first turn it is looked up what is known of a
  # prompt, which may be what another one has read just before.

  alias Mlx.LM.{Cache, Decoder}
  alias Mlx.LM.Server.{Batch, Choosing, Constraint, PromptCache, Reading, Row, Work}

  # A prompt that begins with more tokens of another one than this is read after it, from there on.
  @alike 16

  @doc "A request comes, whose prompt is to be read."
  @spec add(Work.t(), Row.t()) :: Work.t()
  def add(work, row), do: put(work, Reading.new(row))

  @doc "A request goes, if its prompt is being read."
  @spec drop(Work.t(), reference()) :: Work.t()
  def drop(%Work{readings: readings} = work, ref) when is_map_key(readings, ref) do
    Reading.leave(readings[ref])
    without(work, ref)
  end

  def drop(work, _ref), do: work

  # It waits for its turn.
  defp put(work, %Reading{row: %{ref: ref}} = reading) do
    %{work | readings: Map.put(work.readings, ref, reading), turns: :queue.in(ref, work.turns)}
  end

  defp without(work, ref), do: %{work | readings: Map.delete(work.readings, ref), turns: :queue.delete(ref, work.turns)}

  @doc "Reads the parts of one turn."
  @spec read(Work.t()) :: Work.t()
  def read(%Work{step: step} = work), do: read(work, step)

  # A small rest of a turn is left: parts of a few tokens cost more than their number.
  defp read(%{step: step} = work, left) when 2 * left < step, do: work

  defp read(work, left) do
    case :queue.peek(work.turns) do
      :empty ->
        work

      {:value, ref} ->
        {reading, work} = work |> without(ref) |> begun(work.readings[ref])
        {others, work} = others(work, reading, left)
        width = [reading | others] |> Enum.map(& &1.left) |> Enum.max() |> min(left)
        work |> advance([reading | others], left) |> read(left - width * (1 + length(others)))
    end
  end

  # The reading with caches.
  defp begun(work, %Reading{caches: nil, row: %{request: request}} = reading) do
    {kept, model} = source(work, reading)
    {caches, kept} = PromptCache.take(kept, request.ids)
    caches = caches || Decoder.caches(model)
    borders = PromptCache.borders(kept, caches, request.borders, request.prompt)
    {Reading.begin(reading, caches, borders), put_prompts(work, reading, kept)}
  end

  defp begun(work, reading), do: {reading, work}

  # What is kept of prompts for the model that reads, and that model.
  defp source(work, %Reading{ready: nil}), do: {work.prompts, work.model}
  defp source(%{drafter: drafter}, _reading), do: {drafter.prompts, drafter.model}

  defp put_prompts(work, %Reading{ready: nil}, prompts), do: %{work | prompts: prompts}
  defp put_prompts(work, _reading, prompts), do: %{work | drafter: %{work.drafter | prompts: prompts}}

  # ---- several at once

  # Those of the prompts that wait for their first turn that are read with another one: of as many tokens of which is known,
  # and as long as all of them have no more than `left` tokens, with what fills up the shorter ones.
  defp others(work, %Reading{left: length} = reading, left) when 2 * length <= left do
    {kept, model} = source(work, reading)

    if Batch.forgets?(model) do
      waiting = for ref <- :queue.to_list(work.turns), do: work.readings[ref]
      waiting = Enum.filter(waiting, &(&1.caches == nil and draft?(&1) == draft?(reading)))
      {found, _length} = Enum.reduce(waiting, {[], length}, &gathered(&1, &2, reading, kept, left))
      found |> Enum.reverse() |> Enum.map_reduce(work, fn one, work -> work |> without(one.row.ref) |> begun(one) end)
    else
      {[], work}
    end
  end

  defp others(work, _reading, _left), do: {[], work}

  defp draft?(%Reading{ready: ready}), do: ready != nil

  defp gathered(other, {found, longest}, reading, kept, left) do
    %{request: %{ids: ids, prompt: prompt}} = other.row
    start = reading.row.request.prompt - reading.left
    longest = max(longest, prompt - start)

    if longest * (length(found) + 2) <= left and PromptCache.known(kept, ids) == start and
         not Enum.any?([reading | found], &alike?(&1.row.request.ids, ids, start + @alike)),
       do: {[other | found], longest},
       else: {found, longest}
  end

  defp alike?(a, b, count), do: Enum.take(a, count) == Enum.take(b, count)

  # ---- what was read

  defp advance(work, [reading | others] = readings, left) do
    started = System.monotonic_time()
    {_kept, model} = source(work, reading)

    result =
      Work.attempt(fn ->
        if others == [], do: [Reading.advance(reading, model, left)], else: Reading.together(readings, model)
      end)

    tokens = readings |> Enum.map(&min(&1.left, left)) |> Enum.sum()
    Work.measured([:server, :prefill], started, %{tokens: tokens, prompts: length(readings)}, work)

    case result do
      {:ok, results} ->
        Enum.reduce(results, work, &read_part/2)

      {:error, text} ->
        Work.tell(work, for(%{row: %{ref: ref}} <- readings, do: {ref, [{:error, :failed, text}]}))
        work
    end
  end

  defp read_part({:more, reading}, work) do
    read = Reading.at_border(reading)
    {kept, _model} = source(work, reading)
    work = if read, do: put_prompts(work, reading, PromptCache.put(kept, read, reading.caches)), else: work
    put(work, reading)
  end

  defp read_part({:read, %Reading{row: row, caches: caches} = reading, logits}, work) do
    {kept, _model} = source(work, reading)
    kept = if PromptCache.all_trim?(caches), do: PromptCache.put(kept, row.request.ids, caches), else: kept
    work = put_prompts(work, reading, kept)

    case reading.ready do
      nil -> first(work, row, caches, logits)
      {of_model, token} -> work |> Work.join(row, of_model, token) |> Work.join_drafter(row, caches)
    end
  end

  # The first token is given out at once.
  defp first(work, row, caches, logits) do
    {events, next, token} =
      case Work.attempt(fn -> chosen(row, logits) end) do
        {:ok, {token, id, sampler}} ->
          {events, next} = Work.push(row, id, sampler)
          {events, with(%Row{} <- next, do: %{next | sampler: sampler}), token}

        {:error, text} ->
          {[{:error, :failed, text}], :done, nil}
      end

    Work.tell(work, [{row.ref, events}])

    cond do
      next == :done ->
        Cache.release(caches)
        work

      Work.drafts?(work, next) ->
        put(work, Reading.of_draft(next, caches, token))

      true ->
        Work.join(work, next, caches, token)
    end
  end

  defp chosen(row, logits) do
    mask = Constraint.mask(row.constraint, Mlx.axis_size(logits, 1))
    {token, sampler} = Choosing.token(row.choose, row.sampler, logits, 0, mask)
    {token, last} = Mlx.eval({token, sampler.last})
    {token, Mlx.to_number(token), %{sampler | last: last}}
  end
end
