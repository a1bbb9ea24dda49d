defmodule Mlx.Stress.Soak do
  @moduledoc false
  # A server of a language model and its interface over HTTP, under clients of all kinds, while processes of it are killed: the
  # one that computes, those of connections, those that read prompts, and the one that owns the model.
  #
  # The time is cut into rounds. After each one no client is left, the process of the model is killed, and what is in use then
  # has to be what was in use after the first round.

  alias Mlx.LM.{HTTP, Server}
  alias Mlx.Stress.{Crowd, Report}
  alias Mlx.Stress.Soak.{Clients, Figures, Health, Killer, Log}

  @round 30_000
  # How long /health may take, in ms.
  @health 50.0
  # What may be in use more than after the first round.
  @left %{active: 1_000_000, beam: 8_000_000, atoms: 200, processes: 4, ports: 2}
  # What the first rounds have the virtual machine and MLX take beside that.
  @resident_left 300_000_000

  @spec run(map()) :: [Report.outcome()]
  def run(%{seconds: seconds, processes: processes} = options) do
    folder = Path.join(System.tmp_dir!(), "mlx_soak_#{System.pid()}")
    File.mkdir_p!(folder)
    Log.start()
    Clients.prepare()
    supervisor = serve(model(options, folder))
    port = supervisor |> child(HTTP) |> HTTP.port()
    tables = %{errors: :ets.new(:errors, [:public]), outcomes: :ets.new(:outcomes, [:public])}
    health = Health.start(port)
    state = %{supervisor: supervisor, port: port, health: health, tables: tables, processes: processes}
    rounds = for round <- 1..max(2, div(seconds * 1000, @round)), do: round(state, round)
    Health.stop(health)
    logged = Log.stop()
    Process.unlink(supervisor)
    Supervisor.stop(supervisor, :shutdown)
    File.rm_rf!(folder)
    verdicts(rounds, state, logged)
  end

  defp model(%{model: path}, _folder), do: path

  defp model(_options, folder) do
    path = Path.join(folder, "tiny.gguf")
    Mlx.TinyLlama.save(path)
    path
  end

  # The interface stays when the model's process ends.
  defp serve(model) do
    server = [model: model, load: [type: :f32], name: __MODULE__.Model, slots: 16, queue: 48, drain: 1000]
    limits = [header_timeout: 2000, body_timeout: 2000, idle_timeout: 3000, send_timeout: 2000, time_limit: 30_000]

    http =
      [models: [{"m", __MODULE__.Model}], port: 0, keys: [Clients.key()], heartbeat: 500] ++ limits

    children = [{Server, server ++ [memory: 200_000_000, prompt_cache: 20_000_000]}, {HTTP, http}]
    {:ok, supervisor} = Supervisor.start_link(children, strategy: :one_for_one, max_restarts: 1_000_000, max_seconds: 1)
    supervisor
  end

  defp child(supervisor, id) do
    {_id, pid, _type, _modules} = supervisor |> Supervisor.which_children() |> List.keyfind(id, 0)
    pid
  end

  defp round(state, round) do
    outcomes = state.tables.outcomes
    killer = Killer.start(__MODULE__.Model, child(state.supervisor, HTTP))

    result =
      Crowd.run(state.processes, @round, state.tables.errors, &Clients.step(&1, state.port, outcomes),
        kill_every: 500,
        progress: fn -> outcomes |> :ets.tab2list() |> Enum.sum_by(&elem(&1, 1)) end,
        say: fn -> "round #{round}, /health #{Health.describe(state.health)}; #{Report.memory()}" end
      )

    killed = Killer.stop(killer)
    balance = balance(100)
    Process.exit(Process.whereis(__MODULE__.Model), :kill)
    await_server()
    Health.rest(state.health)
    figures = Figures.settled()
    Health.go_on(state.health)
    Report.figure("round #{round}: #{Figures.text(figures)}")
    Map.merge(figures, %{killed: killed, balance: balance, stuck: result.stuck, stalled: result.stalled})
  end

  # What is left of requests when all clients have gone: each ended in one of the ways.
  defp balance(tries) do
    info = Server.info(__MODULE__.Model)
    ends = Enum.sum_by([:answered, :refused, :cancelled, :failed], &info.counters[&1])
    left = %{requests: info.counters.requests - ends, active: info.active, waiting: info.waiting}
    left = Map.put(left, :reserved, info.memory.reserved)

    if Enum.all?(left, fn {_name, count} -> count == 0 end) or tries == 0 do
      left
    else
      Process.sleep(100)
      balance(tries - 1)
    end
  end

  defp await_server do
    Server.info(__MODULE__.Model)
  rescue
    Server.Error -> Process.sleep(20) && await_server()
  catch
    :exit, _reason -> Process.sleep(20) && await_server()
  end

  defp verdicts(rounds, %{tables: tables, health: health}, logged) do
    {errors, error_text} = Report.errors(tables.errors)
    outcomes = outcomes(tables.outcomes)
    killed = for name <- Killer.names(), into: %{}, do: {name, Enum.sum_by(rounds, & &1.killed[name])}
    cut = outcomes |> Enum.filter(&match?({{_kind, :cut}, _count}, &1)) |> Enum.sum_by(&elem(&1, 1))
    {first, last} = {hd(rounds), List.last(rounds)}
    answered = outcomes |> Enum.filter(&match?({{_kind, :answered}, _count}, &1)) |> Enum.sum_by(&elem(&1, 1))
    for {{kind, outcome}, count} <- outcomes, do: Report.figure("#{kind}: #{outcome} #{count}")
    unbalanced = for %{balance: balance} <- rounds, Enum.any?(balance, fn {_name, n} -> n != 0 end), do: balance
    p99 = Health.p99(health)

    [
      Report.check(
        "something was done",
        answered > 20 and Enum.all?(killed, &(elem(&1, 1) > 0)),
        "#{answered} answers"
      ),
      Report.check("what clients saw", errors == 0, error_text),
      Report.check("connections that were cut", cut <= killed.connection, "#{cut}, #{killed.connection} were killed"),
      Report.check("killed", true, inspect(killed)),
      Report.check("requests without an end", unbalanced == [], inspect(unbalanced)),
      Report.check("clients that never end", Enum.all?(rounds, &(&1.stuck == 0 and not &1.stalled)), "#{last.stuck}"),
      Report.check("errors in the log", logged == [], Enum.map_join(logged, "\n", fn {t, n} -> "#{n} x #{t}" end)),
      Report.check(
        "p99 of /health",
        p99 < @health,
        "#{Health.describe(health)}, worst round #{Health.worst(health)} ms"
      )
    ] ++ for(name <- Map.keys(@left), do: flat(name, first, last)) ++ [resident(first, last)]
  end

  defp outcomes(table), do: table |> :ets.tab2list() |> Enum.sort()

  defp flat(name, first, last) do
    more = last[name] - first[name]
    Report.check("#{name} at the end", more <= @left[name], "#{last[name]}, #{more} more than after the first round")
  end

  defp resident(%{resident: nil}, _last),
    do: Report.skip("memory of the process at the end", "this system has no /proc")

  defp resident(first, last) do
    more = last.resident - first.resident
    Report.check("memory of the process at the end", more <= @resident_left, "#{Report.megabytes(more)} more")
  end
end
