defmodule Mlx.LM.Server.Steps do
  @moduledoc false
  # The steps of the batch: the next token of each row, or the next ones where rows draft, and what is given out of them.

  alias Mlx.LM.Server.{Batch, Choosing, Constraint, Drafter, Drafting, Work}

  @doc """
  The next step. The tokens of one step are being computed when those before are given out. Where a grammar says what may
  follow a token, the logits are being computed meanwhile, and the next tokens are chosen when those before are known.
  """
  @spec next(Work.t()) :: Work.t()
  def next(%Work{rows: rows} = work) when rows == %{}, do: work

  def next(%Work{chosen: chosen, rows: rows} = work) do
    cond do
      last?(work) ->
        give_out(%{work | chosen: nil}, chosen)

      Work.drafting?(work) ->
        %{work | chosen: nil} |> give_out(chosen) |> speculate()

      Enum.any?(rows, fn {_ref, row} -> row.constraint != nil end) ->
        {greedy, logits, work} = step(work)
        {batch, {greedy, logits}, nil} = Batch.start(work.batch, {greedy, logits}, nil)
        %{work | batch: batch} |> give_out(chosen) |> choose(greedy, logits)

      true ->
        {greedy, logits, work} = step(work)
        work |> choose(greedy, logits) |> give_out(chosen)
    end
  end

  # Whether the tokens that were chosen are the last of all rows.
  defp last?(%{chosen: nil}), do: false

  defp last?(%{chosen: {_tokens, slots, _samplers}, rows: rows}) do
    Enum.all?(rows, fn {ref, row} -> row.left == 1 and is_map_key(slots, ref) end)
  end

  defp step(work) do
    started = System.monotonic_time()
    {greedy, logits, batch} = Batch.step(work.batch)
    told(started, batch, 0, work)
    {greedy, logits, %{work | batch: batch}}
  end

  defp told(started, batch, drafted, work) do
    figures = %{rows: Batch.size(batch), slots: batch.slots, drafted_tokens: drafted}
    Work.measured([:server, :step], started, figures, work)
  end

  # ---- one token of each row

  # Has MLX compute the tokens that the samplers choose.
  defp choose(%{rows: rows} = work, _greedy, _logits) when rows == %{}, do: %{work | chosen: nil}

  defp choose(work, greedy, logits) do
    {{likeliest, allowed}, work} = constrained(work, {greedy, logits})
    {chosen, work} = samplers(work, allowed)
    slots = for {ref, _row} <- work.rows, into: %{}, do: {ref, Batch.slot(work.batch, ref)}
    tokens = Choosing.tokens(likeliest, for({ref, {token, _sampler}} <- chosen, into: %{}, do: {slots[ref], token}))
    samplers = for {ref, {_token, sampler}} <- chosen, into: %{}, do: {ref, sampler}
    lasts = Map.new(samplers, fn {ref, sampler} -> {ref, sampler.last} end)
    {batch, {next, samplers}, {tokens, lasts}} = Batch.start(work.batch, {tokens, samplers}, {tokens, lasts})
    for array <- Enum.uniq([greedy, logits, likeliest, allowed]), do: Mlx.deallocate(array)
    rows = Map.merge(work.rows, samplers, fn _ref, row, sampler -> %{row | sampler: sampler} end)
    told = Map.new(samplers, fn {ref, sampler} -> {ref, %{sampler | last: lasts[ref]}} end)
    %{work | rows: rows, batch: Batch.put_tokens(batch, next), chosen: {tokens, slots, told}}
  end

  # The most probable tokens and the logits, of which those are left that the grammars of the rows allow.
  defp constrained(work, {_greedy, logits} = likeliest) do
    {allowed, work} = allowed(work)

    if allowed == %{} do
      {likeliest, work}
    else
      slots = for slot <- 0..(Mlx.axis_size(logits, 0) - 1), do: allowed[slot]
      {Constraint.of_rows(work.constrain, logits, slots), work}
    end
  end

  defp allowed(work) do
    for {ref, %{constraint: constraint}} when constraint != nil <- work.rows, reduce: {%{}, work} do
      {allowed, work} ->
        case Work.attempt(fn -> Constraint.allowed(constraint) end) do
          {:ok, mask} -> {Map.put(allowed, Batch.slot(work.batch, ref), mask), work}
          {:error, text} -> {allowed, Work.fail(work, ref, text)}
        end
    end
  end

  # The tokens of rows that need more than the most probable one.
  defp samplers(work, logits) do
    for {ref, row} <- work.rows, not Choosing.greedy?(row.sampler), reduce: {%{}, work} do
      {chosen, work} ->
        slot = Batch.slot(work.batch, ref)

        case Work.attempt(fn -> Choosing.token(row.choose, row.sampler, logits, slot, nil) end) do
          {:ok, {token, sampler}} ->
            rows = Map.put(work.rows, ref, %{row | sampler: sampler})
            {Map.put(chosen, ref, {token, sampler}), %{work | rows: rows}}

          {:error, text} ->
            {chosen, Work.fail(work, ref, text)}
        end
    end
  end

  defp give_out(work, nil), do: work

  defp give_out(work, {tokens, slots, samplers}) do
    ids = tokens |> Mlx.to_list() |> List.to_tuple()

    {told, work} =
      for {ref, row} <- work.rows, slot = slots[ref], reduce: {[], work} do
        {told, work} ->
          id = elem(ids, slot)
          {events, row} = Work.push(row, id, Map.get(samplers, ref, row.sampler))
          {[{ref, events} | told], if(row == :done, do: Work.done(work, ref, id), else: put(work, row))}
      end

    Work.tell(work, told)
    work
  end

  defp put(work, row), do: %{work | rows: Map.put(work.rows, row.ref, row)}

  # ---- drafts

  # Rows that draft need to know their last tokens, so nothing is computed ahead.
  defp speculate(%{rows: rows} = work) when rows == %{}, do: work

  defp speculate(work) do
    started = System.monotonic_time()
    {drafts, drafter} = Drafting.drafts(work.rows, work.drafter)
    work = %{work | drafter: drafter}

    if Drafting.none?(drafts) do
      {greedy, logits, work} = step(work)
      rows = Map.new(work.rows, fn {ref, row} -> {ref, %{row | rounds: row.rounds + 1}} end)
      choose(%{work | rows: rows}, greedy, logits)
    else
      check(work, drafts, started)
    end
  end

  # The model reads the drafts of all rows, and each takes those that the model would have chosen, too.
  defp check(work, drafts, started) do
    batch = Batch.fitted(work.batch)
    {greedy, logits, batch} = Batch.check(batch, Drafting.ids(work.rows, drafts, batch))
    {greedy, logits} = Mlx.eval({greedy, logits})
    told(started, batch, drafts |> Enum.map(fn {_ref, draft} -> length(Drafting.ids(draft)) end) |> Enum.sum(), work)
    step = {greedy |> Mlx.to_list() |> List.to_tuple(), logits}
    work = %{work | batch: batch}
    judged = for {ref, row} <- work.rows, do: {ref, judged(work, row, drafts[ref], step)}
    Mlx.async_eval(for {_ref, {:ok, judged}} <- judged, do: Drafting.arrays(judged))
    work = Enum.reduce(judged, work, fn {ref, judged}, work -> taken(work, ref, judged, drafts[ref]) end)
    for array <- [greedy, logits], do: Mlx.deallocate(array)
    last = for {ref, row} <- work.rows, into: %{}, do: {Batch.slot(work.batch, ref), hd(row.fed)}
    %{work | batch: Batch.put_tokens(work.batch, Batch.tokens(work.batch, last))}
  end

  defp judged(_work, _row, {:error, text}, _step), do: {:error, text}

  defp judged(work, row, draft, {greedy, logits}) do
    slot = Batch.slot(work.batch, row.ref)
    mask = Constraint.mask(row.constraint, Mlx.axis_size(logits, 2))
    Work.attempt(fn -> Drafting.judged(work.judge, row, draft, {elem(greedy, slot), logits}, slot, mask) end)
  end

  defp taken(work, ref, {:ok, judged}, draft) do
    row = work.rows[ref]
    {chosen, sampler} = Drafting.chosen(judged)
    drafted = row.drafted + length(Drafting.ids(draft))
    accepted = row.accepted + length(chosen) - 1
    row = %{row | sampler: sampler, rounds: row.rounds + 1, drafted: drafted, accepted: accepted}
    work |> put(row) |> take(ref, chosen, Batch.read(work.batch, ref))
  end

  defp taken(work, ref, {:error, text}, _draft), do: Work.fail(work, ref, text)

  # For each token that was chosen, the row has read one.
  defp take(work, ref, [], read), do: %{work | drafter: work.drafter && Drafter.settle(work.drafter, ref, read)}

  defp take(work, ref, [{id, sampler} | chosen], read) do
    {events, row} = Work.push(work.rows[ref], id, sampler)
    Work.tell(work, [{ref, events}])
    work = %{work | batch: Batch.put_length(work.batch, ref, read + 1)}
    if row == :done, do: Work.done(work, ref, id), else: work |> put(row) |> take(ref, chosen, read + 1)
  end
end
