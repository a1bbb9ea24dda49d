defmodule Mlx.LM.Server.Runner do
  @moduledoc false
  # The process that computes. It is told which requests to work on and which to leave, and tells what comes of them:
  # `{Mlx.LM.Server.Runner, pid, [{ref, events}]}`, where an error is `{:error, reason, text}`.
  #
  # In each turn it looks for messages, has MLX compute the next tokens of the batch, gives out those of the turn before
  # while MLX computes, and reads a part of one prompt. So MLX always has something to do, and no turn is long.

  alias Mlx.{Memory, Telemetry}
  alias Mlx.LM.{Context, Decoder}

  alias Mlx.LM.Server.{
    About,
    Batch,
    Choosing,
    Constraint,
    Drafting,
    PromptCache,
    PromptFiles,
    Reading,
    Request,
    Room,
    Row
  }

  @enforce_keys [:model, :about, :server, :step, :batch, :choose, :prompts]
  # `readings` are the prompts that are read, or rows whose turn has not come, and `turns` their order. `rows` are those in the
  # batch. `chosen` are the tokens that were chosen for them and not yet read, with the slots that they had then and the
  # samplers that chose them.
  defstruct @enforce_keys ++ [:chosen, :ticket, rows: %{}, readings: %{}, turns: :queue.new()]

  @doc "Starts a runner of the calling server, which knows the prompts of some contexts."
  @spec start_link(Mlx.LM.t(), map(), [Context.t()]) :: pid()
  def start_link(%Mlx.LM{model: model}, settings, contexts) do
    server = self()

    spawn_link(fn ->
      prompts = PromptCache.new(Room.prompt_cache(settings))

      loop(%__MODULE__{
        model: model,
        about: About.get(server),
        server: server,
        step: settings.prefill_step,
        batch: Batch.new(model, Batch.compile(model)),
        choose: Choosing.compile(),
        prompts: Enum.reduce(contexts, prompts, &PromptCache.put(&2, &1.ids, &1.caches))
      })
    end)
  end

  @doc "Gives a request to the runner."
  @spec admit(pid(), reference(), Request.t()) :: :ok
  def admit(runner, ref, request) do
    send(runner, {:admit, ref, request})
    :ok
  end

  @doc "Has the runner write what it keeps of prompts. It tells the server `{Mlx.LM.Server.Runner, pid, {:saved, from, result}}`."
  @spec save(pid(), GenServer.from(), Path.t()) :: :ok
  def save(runner, from, folder) do
    send(runner, {:save, from, folder})
    :ok
  end

  @doc "Has the runner leave a request."
  @spec drop(pid(), reference()) :: :ok
  def drop(runner, ref) do
    send(runner, {:drop, ref})
    :ok
  end

  defp loop(state) do
    state |> messages() |> decode() |> read_part() |> loop()
  end

  # ---- messages

  defp messages(%__MODULE__{rows: rows, readings: readings} = state) when rows == %{} and readings == %{} do
    state = rest(state)

    receive do
      message -> state |> wake() |> message(message) |> messages()
    end
  end

  defp messages(state) do
    receive do
      message -> state |> message(message) |> messages()
    after
      0 -> state
    end
  end

  # The model stays in the memory of a GPU while there is work.
  defp wake(%{ticket: nil} = state), do: %{state | ticket: Memory.wire()}
  defp wake(state), do: state

  defp rest(%{ticket: nil} = state), do: state

  defp rest(%{ticket: ticket} = state) do
    Memory.release(ticket)
    :erlang.garbage_collect()
    %{state | ticket: nil}
  end

  defp message(state, {:admit, ref, request}) do
    row = Row.new(ref, request, state.about, state.choose)
    %{state | readings: Map.put(state.readings, ref, row), turns: :queue.in(ref, state.turns)}
  end

  defp message(state, {:save, from, folder}) do
    result = state.prompts |> PromptCache.entries() |> PromptFiles.save(folder, state.model)
    send(state.server, {__MODULE__, self(), {:saved, from, result}})
    state
  end

  defp message(state, {:drop, ref}) do
    case Map.pop(state.readings, ref) do
      {nil, _readings} ->
        leave(state, ref)

      {reading, readings} ->
        with %Reading{} <- reading, do: Reading.leave(reading)
        %{state | readings: readings, turns: :queue.delete(ref, state.turns)}
    end
  end

  defp leave(%{rows: rows} = state, ref) when is_map_key(rows, ref) do
    batch = Batch.leave(state.batch, ref)
    %{state | rows: Map.delete(rows, ref), batch: batch, chosen: if(batch.slots > 0, do: state.chosen)}
  end

  defp leave(state, _ref), do: state

  # ---- the batch

  defp decode(%{rows: rows} = state) when rows == %{}, do: state

  # The next tokens are being computed when those before are read. Where a grammar says what may follow a token, the logits
  # are being computed meanwhile, and the next tokens are chosen when those before are known.
  defp decode(%{chosen: chosen, rows: rows} = state) do
    cond do
      last?(state) ->
        give_out(%{state | chosen: nil}, chosen)

      Drafting.any?(rows) ->
        %{state | chosen: nil} |> give_out(chosen) |> speculate()

      Enum.any?(rows, fn {_ref, row} -> row.constraint != nil end) ->
        {greedy, logits, state} = step(state)
        Mlx.async_eval({greedy, logits})
        state |> give_out(chosen) |> choose(greedy, logits)

      true ->
        {greedy, logits, state} = step(state)
        state |> choose(greedy, logits) |> give_out(chosen)
    end
  end

  # Rows that draft need to know their last tokens, so nothing is computed ahead.
  defp speculate(%{rows: rows} = state) when rows == %{}, do: state

  defp speculate(state) do
    drafts = Drafting.drafts(state.rows)

    if Enum.all?(drafts, fn {_ref, ids} -> ids == [] end) do
      {greedy, logits, state} = step(state)
      rows = Map.new(state.rows, fn {ref, row} -> {ref, %{row | rounds: row.rounds + 1}} end)
      choose(%{state | rows: rows}, greedy, logits)
    else
      batch = Batch.fitted(state.batch)
      {logits, batch} = Batch.check(batch, Drafting.ids(state.rows, drafts, batch))
      logits = Mlx.eval(logits)
      state = Enum.reduce(state.rows, %{state | batch: batch}, &check(&2, &1, drafts, logits))
      Mlx.deallocate(logits)
      last = for {ref, row} <- state.rows, into: %{}, do: {Batch.slot(state.batch, ref), hd(row.fed)}
      %{state | batch: Batch.put_tokens(state.batch, Batch.tokens(state.batch, last))}
    end
  end

  defp check(state, {ref, row}, drafts, logits) do
    slot = Batch.slot(state.batch, ref)
    mask = Constraint.mask(row.constraint, Mlx.axis_size(logits, 2))

    case attempt(fn -> Drafting.chosen(row, drafts[ref], logits, slot, mask) end) do
      {:ok, chosen} ->
        {_id, sampler} = List.last(chosen)
        accepted = length(chosen) - 1
        row = %{row | sampler: sampler, rounds: row.rounds + 1, accepted: row.accepted + accepted}
        row = %{row | drafted: row.drafted + length(drafts[ref])}
        take(%{state | rows: Map.put(state.rows, ref, row)}, ref, chosen)

      {:error, text} ->
        tell(state, [{ref, [{:error, :failed, text}]}])
        %{state | rows: Map.delete(state.rows, ref)} |> without(ref)
    end
  end

  # For each token that was chosen, the row has read one.
  defp take(state, _ref, []), do: state

  defp take(state, ref, [{id, sampler} | chosen]) do
    {events, row} = push(state.rows[ref], id, sampler)
    if events != [], do: tell(state, [{ref, events}])
    state = %{state | batch: Batch.advance(state.batch, ref, 1)}
    if row == :done, do: done(state, ref, id), else: take(%{state | rows: Map.put(state.rows, ref, row)}, ref, chosen)
  end

  # Whether the tokens that were chosen are the last of all rows.
  defp last?(%{chosen: nil}), do: false

  defp last?(%{chosen: {_tokens, slots, _samplers}, rows: rows}) do
    Enum.all?(rows, fn {ref, row} -> row.left == 1 and is_map_key(slots, ref) end)
  end

  defp step(state) do
    started = System.monotonic_time()
    {greedy, logits, batch} = Batch.step(state.batch)
    measurements = %{duration: System.monotonic_time() - started, rows: Batch.size(batch), slots: batch.slots}
    Telemetry.execute([:server, :step], measurements, %{server: state.about.name})
    {greedy, logits, %{state | batch: batch}}
  end

  # Has MLX compute the tokens that the samplers choose.
  defp choose(%{rows: rows} = state, _greedy, _logits) when rows == %{}, do: %{state | chosen: nil}

  defp choose(state, greedy, logits) do
    {chosen, state} = samplers(state, logits)
    slots = for {ref, _row} <- state.rows, into: %{}, do: {ref, Batch.slot(state.batch, ref)}
    tokens = Choosing.tokens(greedy, for({ref, {token, _sampler}} <- chosen, into: %{}, do: {slots[ref], token}))
    samplers = for {ref, {_token, sampler}} <- chosen, into: %{}, do: {ref, sampler}
    Mlx.async_eval({tokens, for({_ref, sampler} <- samplers, do: sampler.last)})
    for array <- Enum.uniq([greedy, logits]), array != tokens, do: Mlx.deallocate(array)
    %{state | batch: Batch.put_tokens(state.batch, tokens), chosen: {tokens, slots, samplers}}
  end

  # The tokens of rows that need more than the most probable one. What a function of the user's own raises ends its request
  # alone.
  defp samplers(state, logits) do
    vocabulary = Mlx.axis_size(logits, 1)

    for {ref, row} <- state.rows, row.constraint != nil or not Choosing.greedy?(row.sampler), reduce: {%{}, state} do
      {chosen, state} ->
        case attempt(fn -> token(state, row, logits, vocabulary) end) do
          {:ok, {token, sampler}} ->
            rows = Map.put(state.rows, ref, %{row | sampler: sampler})
            {Map.put(chosen, ref, {token, sampler}), %{state | rows: rows}}

          {:error, text} ->
            tell(state, [{ref, [{:error, :failed, text}]}])
            {chosen, %{state | rows: Map.delete(state.rows, ref)} |> without(ref)}
        end
    end
  end

  defp token(state, row, logits, vocabulary) do
    mask = Constraint.mask(row.constraint, vocabulary)
    Choosing.token(row.choose, row.sampler, logits, Batch.slot(state.batch, row.ref), mask)
  end

  # The slot is free for the next row. The step that is under way has it still.
  defp without(state, ref), do: %{state | batch: Batch.leave(state.batch, ref)}

  defp attempt(fun) do
    {:ok, fun.()}
  rescue
    error -> {:error, Exception.message(error)}
  end

  defp give_out(state, nil), do: state

  defp give_out(state, {tokens, slots, samplers}) do
    ids = tokens |> Mlx.to_list() |> List.to_tuple()

    {told, state} =
      for {ref, row} <- state.rows, slot = slots[ref], reduce: {[], state} do
        {told, state} ->
          {events, row} = push(row, elem(ids, slot), Map.get(samplers, ref, row.sampler))
          told = if events == [], do: told, else: [{ref, events} | told]

          {told,
           if(row == :done, do: done(state, ref, elem(ids, slot)), else: %{state | rows: Map.put(state.rows, ref, row)})}
      end

    tell(state, told)
    state
  end

  # What the row has read is kept for a request that goes on from there.
  defp done(state, ref, id) do
    {slot, length} = state.batch.rows[ref]
    caches = if state.prompts.limit > 0, do: PromptCache.of_row(state.batch.caches, slot, length)

    prompts =
      if caches, do: PromptCache.put(state.prompts, Row.read(state.rows[ref], id, length), caches), else: state.prompts

    if caches, do: Batch.release(caches)
    leave(%{state | prompts: prompts}, ref)
  end

  defp push(row, id, sampler) do
    case attempt(fn -> Row.push(row, id, sampler) end) do
      {:ok, pushed} -> pushed
      {:error, text} -> {[{:error, :failed, text}], :done}
    end
  end

  defp tell(_state, []), do: :ok
  defp tell(state, events), do: send(state.server, {__MODULE__, self(), events})

  # ---- prompts

  # Each prompt has its turn, so that a short one does not wait for a long one. At its first turn it is looked up what is
  # known of it, which may be what another one has read just before.
  defp read_part(state) do
    case :queue.out(state.turns) do
      {:empty, _turns} -> state
      {{:value, ref}, turns} -> read_part(%{state | turns: turns}, ref, Map.fetch!(state.readings, ref))
    end
  end

  defp read_part(state, ref, %Row{request: request} = row) do
    {caches, prompts} = PromptCache.take(state.prompts, request.ids)
    caches = caches || Decoder.caches(state.model)
    borders = PromptCache.borders(prompts, caches, request.borders, request.prompt)
    read_part(%{state | prompts: prompts}, ref, Reading.new(row, caches, borders))
  end

  defp read_part(state, ref, reading) do
    started = System.monotonic_time()
    result = attempt(fn -> Reading.advance(reading, state.model, state.step) end)
    measurements = %{duration: System.monotonic_time() - started, tokens: min(reading.left, state.step)}
    Telemetry.execute([:server, :prefill], measurements, %{server: state.about.name})

    case result do
      {:ok, {:more, reading}} ->
        read = Reading.at_border(reading)
        state = if read, do: %{state | prompts: PromptCache.put(state.prompts, read, reading.caches)}, else: state
        %{state | readings: Map.put(state.readings, ref, reading), turns: :queue.in(ref, state.turns)}

      {:ok, {:read, row, caches, sampler, token}} ->
        whole? = PromptCache.all_trim?(caches)
        prompts = if whole?, do: PromptCache.put(state.prompts, row.request.ids, caches), else: state.prompts
        state = %{state | prompts: prompts}
        join(%{state | readings: Map.delete(state.readings, ref)}, row, caches, sampler, token)

      {:error, text} ->
        tell(state, [{ref, [{:error, :failed, text}]}])
        %{state | readings: Map.delete(state.readings, ref)}
    end
  end

  # The first token is given out at once.
  defp join(state, row, caches, sampler, token) do
    {events, next} = push(row, token |> Mlx.to_list() |> hd(), sampler)
    if events != [], do: tell(state, [{row.ref, events}])

    case next do
      :done ->
        Batch.release(caches)
        state

      next ->
        batch = Batch.join(state.batch, row.ref, caches, row.request.prompt, token)
        %{state | rows: Map.put(state.rows, row.ref, %{next | sampler: sampler}), batch: batch}
    end
  end
end
