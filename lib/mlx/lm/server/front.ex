defmodule Mlx.LM.Server.Front do
  @moduledoc false
  # The process of `Mlx.LM.Server`: it owns the model, keeps the requests from their coming to their end, and decides which
  # of them the runner works on. It computes nothing itself, so that it answers at once.
  #
  #     client -> submit -> intake -> waiting -> runner -> events -> client
  #
  # All events of a request go through this process, so that they come in order and the last one comes once. The runner is
  # linked. When it breaks down, the requests that it worked on fail, and another one goes on with the others; the model
  # stays. When that happens too often, this process ends, too, and its supervisor has the model loaded anew.

  use GenServer

  alias Mlx.Arguments.CalledFunction
  alias Mlx.LM.Server
  alias Mlx.LM.Server.{About, Drafting, Entry, Error, Group, Intake, PromptFiles, Room, Runner, Waiting}
  alias Mlx.Telemetry

  # How often a runner may break down within this time, in ms.
  @most_crashes 3
  @crash_window 10_000

  @enforce_keys [:lm, :draft, :about, :settings, :room, :waiting]
  defstruct @enforce_keys ++
              [
                :runner,
                requests: %{},
                monitors: %{},
                active: 0,
                stopping: false,
                crashes: [],
                saving: [],
                counters: %{}
              ]

  @counters [
    :requests,
    :accepted,
    :answered,
    :refused,
    :cancelled,
    :failed,
    :prompt_tokens,
    :cached_tokens,
    :generated_tokens,
    :drafted_tokens,
    :accepted_tokens
  ]

  @impl true
  def init(settings) do
    Process.flag(:trap_exit, true)
    lm = lm(settings)
    draft = draft(settings, lm)
    if settings.group != nil, do: Group.join(settings.group)

    state = %__MODULE__{
      lm: lm,
      draft: draft,
      about: About.put(lm, draft),
      settings: settings,
      room: Room.new([lm.model | List.wrap(draft && draft.draft.model)], settings),
      waiting: Waiting.new(),
      counters: Map.new(@counters, &{&1, 0})
    }

    {:ok, start_runner(state, if(settings.prompts, do: PromptFiles.load(settings.prompts, lm.model), else: []))}
  end

  defp lm(%{model: %Mlx.LM{} = lm}), do: lm
  defp lm(%{model: name, load: options}), do: Mlx.LM.load(name, options)

  # A drafting model is of the same form and type.
  defp draft(%{draft: draft, draft_tokens: count, load: options}, lm) do
    draft = if is_binary(draft), do: Mlx.LM.load(draft, Keyword.take(options, [:form, :type])), else: draft
    CalledFunction.name("Mlx.LM.Server.start_link", fn -> Drafting.model!(draft, count, lm) end)
  end

  defp start_runner(state, contexts) do
    %{state | runner: Runner.start_link(state.lm, state.draft, state.settings, contexts)}
  end

  @impl true
  def handle_call({:submit, ref, target, owner, prompt, options, called}, _from, state) do
    cond do
      state.stopping ->
        {:reply, {:error, refused(:shutdown, called, "the server stops")}, state}

      full?(state) ->
        {:reply, {:error, refused(:queue_full, called, full(state))}, state |> count(:requests) |> count(:refused)}

      true ->
        {:reply, :ok, accept(state, ref, target, owner, Intake.start(ref, prompt, options, called), called)}
    end
  end

  def handle_call({:save, folder}, from, state) do
    Runner.save(state.runner, from, folder)
    {:noreply, %{state | saving: [from | state.saving]}}
  end

  def handle_call(:info, _from, state), do: {:reply, info(state), state}
  def handle_call(:model, _from, state), do: {:reply, Map.from_struct(state.about), state}

  # Where nobody waits for memory, the next ones have the slots that are free.
  defp full?(%{settings: %{slots: slots, queue: queue}} = state) do
    free = if Waiting.size(state.waiting) == 0, do: slots - state.active, else: 0
    map_size(state.requests) - state.active >= queue + free
  end

  defp full(state), do: "#{state.settings.queue} requests wait already, which is the most; try again later"
  defp refused(reason, called, text), do: Error.new(reason, "#{called}: #{text}")

  defp accept(state, ref, target, owner, {intake, intake_monitor}, called) do
    monitor = Process.monitor(owner)

    entry = %Entry{
      ref: ref,
      target: target,
      called: called,
      monitors: [monitor, intake_monitor],
      intake: intake,
      came: System.monotonic_time()
    }

    monitors = Map.merge(state.monitors, %{monitor => {:owner, ref}, intake_monitor => {:intake, ref}})
    count(%{state | requests: Map.put(state.requests, ref, entry), monitors: monitors}, :requests) |> count(:accepted)
  end

  @impl true
  def handle_cast({:cancel, ref}, state), do: {:noreply, cancel(state, ref) |> advance()}

  @impl true
  def handle_info({Intake, ref, result}, state), do: {:noreply, state |> taken_in(ref, result) |> advance()}

  def handle_info({Runner, runner, {:saved, from, result}}, %{runner: runner} = state),
    do: {:noreply, saved(state, from, result)}

  def handle_info({Runner, runner, events}, %{runner: runner} = state),
    do: {:noreply, state |> told(events) |> advance()}

  def handle_info({:deadline, ref}, state), do: {:noreply, state |> overdue(ref) |> advance()}

  def handle_info({:DOWN, monitor, :process, _pid, reason}, state) do
    case state.monitors[monitor] do
      {:owner, ref} -> {:noreply, state |> count(:cancelled) |> leave(ref) |> advance()}
      {:intake, ref} -> {:noreply, state |> broken_intake(ref, reason) |> advance()}
      nil -> {:noreply, state}
    end
  end

  def handle_info({:EXIT, runner, reason}, %{runner: runner} = state), do: crashed(state, reason)
  # The process that started this one, which GenServer does not look at in a `terminate/2` that waits.
  def handle_info(_message, state), do: {:noreply, state}

  # ---- from coming to waiting

  defp taken_in(state, ref, result) do
    case {state.requests[ref], result} do
      {nil, _result} -> state
      {_entry, {:error, error}} -> state |> count(:refused) |> finish(ref, {:error, error})
      {entry, {:ok, request}} -> wait(state, %{entry | request: request, intake: nil})
    end
  end

  defp wait(state, %Entry{ref: ref, request: request} = entry) do
    cond do
      too_large = Room.too_large(state.room, request) ->
        state |> count(:refused) |> finish(ref, {:error, refused(:too_large, entry.called, too_large)})

      not request.queue and not free?(state, request) ->
        text = "all #{state.settings.slots} slots or the memory are in use, and the request is not to wait"
        state |> count(:refused) |> finish(ref, {:error, refused(:queue_full, entry.called, text)})

      true ->
        entry = %{entry | timer: timer(entry)}
        state = %{state | requests: Map.put(state.requests, ref, entry)}
        %{state | waiting: Waiting.put(state.waiting, ref, request.priority)}
    end
  end

  defp timer(%Entry{request: %{deadline: nil}}), do: nil

  defp timer(%Entry{ref: ref, came: came, request: %{deadline: deadline}}) do
    passed = System.convert_time_unit(System.monotonic_time() - came, :native, :millisecond)
    Process.send_after(self(), {:deadline, ref}, max(deadline - passed, 0))
  end

  defp broken_intake(state, ref, reason) do
    case state.requests[ref] do
      %Entry{intake: pid} = entry when pid != nil and reason != :normal ->
        state |> count(:failed) |> finish(ref, {:error, refused(:failed, entry.called, "the prompt could not be read")})

      _other ->
        state
    end
  end

  # ---- from waiting to the runner

  # Those that wait go to the runner as long as there is room. Nobody passes the first of them, so that large ones have
  # their turn.
  defp advance(state) do
    with ref when ref != nil <- Waiting.first(state.waiting),
         %Entry{} = entry = Map.fetch!(state.requests, ref),
         true <- free?(state, entry.request) do
      Runner.admit(state.runner, ref, entry.request)
      waited = System.monotonic_time() - entry.came
      metadata = %{server: state.about.name}
      Telemetry.execute([:server, :start], %{duration: waited, prompt_tokens: entry.request.prompt}, metadata)

      advance(%{
        state
        | waiting: Waiting.delete(state.waiting, ref),
          requests: Map.put(state.requests, ref, %{entry | active: true}),
          room: Room.take(state.room, ref, entry.request),
          active: state.active + 1
      })
    else
      _nobody -> state
    end
  end

  defp free?(state, request), do: state.active < state.settings.slots and Room.free?(state.room, request)

  # ---- from the runner to the client

  defp told(state, events) do
    Enum.reduce(events, state, fn {ref, list}, state ->
      if Map.has_key?(state.requests, ref), do: Enum.reduce(list, state, &deliver(&2, ref, &1)), else: state
    end)
  end

  defp deliver(state, ref, {:done, response} = event) do
    entry = Map.fetch!(state.requests, ref)

    drafts = response.speculation || %{drafted: 0, accepted: 0}

    tokens = %{
      prompt_tokens: response.prompt_tokens,
      cached_tokens: response.cached_tokens,
      generated_tokens: response.generated_tokens,
      drafted_tokens: drafts.drafted,
      accepted_tokens: drafts.accepted
    }

    measurements = Map.put(tokens, :duration, System.monotonic_time() - entry.came)
    metadata = %{server: state.about.name, reason: response.finish_reason}
    Telemetry.execute([:server, :stop], measurements, metadata)
    state = Enum.reduce(tokens, count(state, :answered), fn {name, number}, state -> count(state, name, number) end)
    finish(state, ref, event)
  end

  defp deliver(state, ref, {:error, reason, text}) do
    entry = Map.fetch!(state.requests, ref)
    state |> count(:failed) |> finish(ref, {:error, refused(reason, entry.called, text)})
  end

  defp deliver(state, ref, event) do
    entry = Map.fetch!(state.requests, ref)
    send(entry.target, {Server, ref, event})

    if entry.first do
      state
    else
      now = System.monotonic_time()
      Telemetry.execute([:server, :first_text], %{duration: now - entry.came}, %{server: state.about.name})
      %{state | requests: Map.put(state.requests, ref, %{entry | first: now})}
    end
  end

  # ---- ends

  defp cancel(state, ref) do
    case state.requests[ref] do
      nil ->
        state

      entry ->
        error = refused(:cancelled, entry.called, "the request was cancelled")
        state |> count(:cancelled) |> finish(ref, {:error, error})
    end
  end

  defp overdue(state, ref) do
    case state.requests[ref] do
      nil ->
        state

      entry ->
        error = refused(:deadline, entry.called, "there was no whole answer within #{entry.request.deadline} ms")
        state |> count(:cancelled) |> finish(ref, {:error, error})
    end
  end

  # The last event of a request, which then is no more.
  defp finish(state, ref, event) do
    %Entry{target: target} = Map.fetch!(state.requests, ref)
    send(target, {Server, ref, event})

    with {:error, %Error{reason: reason}} <- event do
      Telemetry.execute([:server, :refused], %{waiting: Waiting.size(state.waiting)}, %{
        server: state.about.name,
        reason: reason
      })
    end

    leave(state, ref)
  end

  defp leave(state, ref) do
    {entry, requests} = Map.pop!(state.requests, ref)
    for monitor <- entry.monitors, do: Process.demonitor(monitor, [:flush])
    if entry.timer, do: Process.cancel_timer(entry.timer)
    if entry.intake, do: Process.exit(entry.intake, :kill)
    if entry.active, do: Runner.drop(state.runner, ref)

    %{
      state
      | requests: requests,
        monitors: Map.drop(state.monitors, entry.monitors),
        waiting: Waiting.delete(state.waiting, ref),
        room: Room.give_back(state.room, ref),
        active: if(entry.active, do: state.active - 1, else: state.active)
    }
  end

  defp crashed(state, reason) do
    now = System.monotonic_time(:millisecond)
    crashes = [now | Enum.filter(state.crashes, &(&1 > now - @crash_window))]
    text = "the computation broke down: #{cause(reason)}"

    state =
      for {ref, %Entry{active: true} = entry} <- state.requests, reduce: %{state | crashes: crashes} do
        state -> state |> count(:failed) |> finish(ref, {:error, refused(:failed, entry.called, text)})
      end

    state = Enum.reduce(state.saving, state, &saved(&2, &1, {:error, text}))

    cond do
      length(crashes) > @most_crashes -> {:stop, {:runner, reason}, state}
      true -> {:noreply, state |> start_runner([]) |> advance()}
    end
  end

  defp saved(state, from, result) do
    GenServer.reply(from, result)
    %{state | saving: List.delete(state.saving, from)}
  end

  defp cause({error, stacktrace}) when is_exception(error) and is_list(stacktrace), do: Exception.message(error)
  defp cause(reason), do: inspect(reason, limit: 20, printable_limit: 500)

  # At a shutdown those that wait are refused, and the others have the time of `:drain` to come to their end.
  @impl true
  def terminate(reason, state) do
    state = %{state | stopping: true}
    if state.settings.group != nil, do: Group.leave(state.settings.group)
    state = for {ref, %Entry{active: false}} <- state.requests, reduce: state, do: (state -> stopped(state, ref))
    drain? = reason in [:normal, :shutdown] or match?({:shutdown, _}, reason)
    state = if drain?, do: drain(state, System.monotonic_time(:millisecond) + state.settings.drain), else: state
    for {ref, _entry} <- state.requests, reduce: state, do: (state -> stopped(state, ref))
    :ok
  end

  defp stopped(state, ref) do
    entry = Map.fetch!(state.requests, ref)
    state |> count(:failed) |> finish(ref, {:error, refused(:shutdown, entry.called, "the server stops")})
  end

  defp drain(%{requests: requests} = state, _until) when requests == %{}, do: state

  defp drain(state, until) do
    receive do
      {:"$gen_call", from, message} ->
        state =
          case handle_call(message, from, state) do
            {:reply, reply, state} -> GenServer.reply(from, reply) && state
            {:noreply, state} -> state
          end

        drain(state, until)

      {:"$gen_cast", message} ->
        {:noreply, state} = handle_cast(message, state)
        drain(state, until)

      {:EXIT, runner, _reason} when runner == state.runner ->
        state

      message ->
        {:noreply, state} = handle_info(message, state)
        drain(state, until)
    after
      max(until - System.monotonic_time(:millisecond), 0) -> state
    end
  end

  # ---- figures

  defp count(state, counter, by \\ 1), do: %{state | counters: Map.update!(state.counters, counter, &(&1 + by))}

  defp info(state) do
    %{
      model: state.about.name,
      slots: state.settings.slots,
      active: state.active,
      waiting: map_size(state.requests) - state.active,
      queue: state.settings.queue,
      stopping: state.stopping,
      memory: Room.info(state.room),
      counters: state.counters
    }
  end
end
