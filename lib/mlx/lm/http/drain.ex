defmodule Mlx.LM.HTTP.Drain do
  @moduledoc false
  # Stands between the connections and the listener: it ends after the listener, so that no connection comes any more, and
  # before the connections, which it gives the time of `:drain`. Answers that are not at their end then are told to fail.

  use GenServer

  @look 20

  # How long answers may take to fail, in ms.
  @last 1000

  @spec start_link({pos_integer(), pid()}) :: GenServer.on_start()
  def start_link({time, supervisor}), do: GenServer.start_link(__MODULE__, {time, supervisor})

  @doc "The child that a supervisor shuts down after the time."
  @spec child_spec({non_neg_integer(), pid()}) :: Supervisor.child_spec()
  def child_spec({time, supervisor}) do
    %{id: __MODULE__, start: {__MODULE__, :start_link, [{time, supervisor}]}, shutdown: time + 5000}
  end

  @impl true
  def init({time, connections}) do
    Process.flag(:trap_exit, true)
    {:ok, {time, connections}}
  end

  @impl true
  def terminate(_reason, {time, connections}) do
    children = Task.Supervisor.children(connections)
    for child <- children, do: send(child, :drain)
    wait(children, System.monotonic_time(:millisecond) + time)
    for child <- children, do: send(child, :stop)
    wait(children, System.monotonic_time(:millisecond) + @last)
  end

  defp wait(children, until) do
    if Enum.any?(children, &Process.alive?/1) and System.monotonic_time(:millisecond) < until do
      Process.sleep(@look)
      wait(children, until)
    else
      :ok
    end
  end
end
