defmodule Mlx.Stress.Soak.Killer do
  @moduledoc false
  # Kills processes of a server at random times: the one that computes, those of connections, those that read prompts, and the
  # one that owns the model, which its supervisor starts anew.

  @names [:runner, :connection, :intake, :model]
  @pause 400..1200

  @doc "What is killed."
  @spec names() :: [atom()]
  def names, do: @names

  @doc "Starts to kill, of the server with a name and of the supervisor of its interface."
  @spec start(atom(), pid()) :: pid()
  def start(model, http), do: spawn_link(fn -> kill(model, http, Map.new(@names, &{&1, 0})) end)

  @doc "Ends it. Returns how many of each were killed."
  @spec stop(pid()) :: %{atom() => non_neg_integer()}
  def stop(killer) do
    send(killer, {:stop, self()})
    receive do: ({:killed, killed} -> killed)
  end

  defp kill(model, http, killed) do
    receive do
      {:stop, from} -> send(from, {:killed, killed})
    after
      Enum.random(@pause) ->
        name = Enum.random([:runner, :connection, :connection, :connection, :intake, :intake, :model])

        case victim(name, model, http) do
          pid when is_pid(pid) ->
            Process.exit(pid, :kill)
            kill(model, http, Map.update!(killed, name, &(&1 + 1)))

          nil ->
            kill(model, http, killed)
        end
    end
  end

  defp victim(:model, model, _http), do: Process.whereis(model)
  defp victim(:runner, model, _http), do: with(%{runner: runner} <- state(model), do: runner)

  # Prompts are read at once, so one is looked for a while.
  defp victim(:intake, model, _http) do
    Enum.find_value(1..50, fn _time ->
      with %{requests: requests} <- state(model),
           do: Enum.find_value(requests, fn {_ref, entry} -> entry.intake end)
    end)
  end

  defp victim(:connection, _model, http) do
    {_id, connections, _type, _modules} = http |> Supervisor.which_children() |> List.keyfind(:connections, 0)
    with [_ | _] = children <- Task.Supervisor.children(connections), do: Enum.random(children), else: (_none -> nil)
  end

  # A server that loads its model has none.
  defp state(model) do
    :sys.get_state(model)
  catch
    :exit, _reason -> nil
  end
end
