defmodule Mlx.Stress.Crowd do
  @moduledoc false
  # Processes that each do one thing again and again until they are told to stop, and are killed and started anew meanwhile.

  @stall 180_000

  defstruct [:start, :errors, :stop, slots: %{}, started: 0, killed: 0]

  @doc """
  Runs `count` processes for so many milliseconds. Each calls `step` with its number, which no other has had, until the
  time is up; what that raises is counted in the table `errors`. One at random is killed every `:kill_every` milliseconds.

  `:progress` is a function whose result grows while all is well, and `:say` one that gives a text about it; with `:over`
  it ends before its time when that function says so. The result tells how many were killed, how many did not come to an
  end when they were told to, and whether nothing moved for three minutes.
  """
  @spec run(pos_integer(), pos_integer(), :ets.table(), (pos_integer() -> term()), keyword()) :: %{
          killed: non_neg_integer(),
          stuck: non_neg_integer(),
          stalled: boolean()
        }
  def run(count, duration, errors, step, options) do
    stop = :atomics.new(1, [])
    crowd = %__MODULE__{errors: errors, stop: stop, start: &spawn_monitor(fn -> work(&1, step, errors, stop) end)}
    crowd = Enum.reduce(1..count, crowd, fn _, crowd -> start(crowd) end)
    end_time = now() + duration
    clock = %{end: end_time, kill: now(), say: now() + 10_000, moved: now(), seen: -1, stalled: false}
    {crowd, clock} = tend(crowd, clock, Map.merge(%{over: fn -> false end}, Map.new(options)))
    :atomics.put(stop, 1, 1)
    stuck = crowd |> await_all(now() + @stall) |> map_size()
    %{killed: crowd.killed, stuck: stuck, stalled: clock.stalled}
  end

  defp work(number, step, errors, stop) do
    if :atomics.get(stop, 1) == 0 do
      try do
        step.(number)
      rescue
        error -> Mlx.Stress.Report.count_error(errors, "#{inspect(error.__struct__)}: #{Exception.message(error)}")
      end

      work(number, step, errors, stop)
    end
  end

  defp start(crowd) do
    number = crowd.started + 1
    {pid, _monitor} = crowd.start.(number)
    %{crowd | started: number, slots: Map.put(crowd.slots, pid, number)}
  end

  defp tend(crowd, clock, options) do
    now = now()
    clock = watch(clock, now, options)

    cond do
      now >= clock.end or clock.stalled or options.over.() ->
        {crowd, clock}

      options[:kill_every] && now >= clock.kill ->
        {victim, _} = Enum.random(crowd.slots)
        Process.exit(victim, :kill)
        tend(%{crowd | killed: crowd.killed + 1}, %{clock | kill: now + options.kill_every}, options)

      true ->
        next = Enum.min([clock.end, now + 1000 | if(options[:kill_every], do: [clock.kill], else: [])])
        tend(receive_end(crowd, max(next - now, 0)), clock, options)
    end
  end

  defp watch(clock, now, options) do
    progress = options.progress.()
    clock = if progress == clock.seen, do: clock, else: %{clock | seen: progress, moved: now}

    if now >= clock.say do
      Mlx.Stress.Report.figure("#{div(clock.end - now, 1000)} s to go: #{options.say.()}")
      %{clock | say: now + 10_000, stalled: now - clock.moved > @stall}
    else
      clock
    end
  end

  defp receive_end(crowd, wait) do
    receive do
      {:DOWN, _, :process, pid, reason} -> crowd |> ended(pid, reason) |> start()
    after
      wait -> crowd
    end
  end

  defp ended(crowd, pid, reason) do
    if reason not in [:normal, :killed] do
      Mlx.Stress.Report.count_error(crowd.errors, "a process ended: #{inspect(reason)}")
    end

    %{crowd | slots: Map.delete(crowd.slots, pid)}
  end

  defp await_all(%{slots: slots}, _deadline) when slots == %{}, do: %{}

  defp await_all(crowd, deadline) do
    receive do
      {:DOWN, _, :process, pid, reason} -> crowd |> ended(pid, reason) |> await_all(deadline)
    after
      max(deadline - now(), 0) -> crowd.slots
    end
  end

  defp now, do: System.monotonic_time(:millisecond)
end
