defmodule Mlx.Stress.Soak.Health do
  @moduledoc false
  # Asks /health again and again, each time over a new connection, and knows how long that took. A round begins where it rests.

  alias Mlx.HTTPClient
  alias Mlx.Stress.Latencies

  @pause 20

  @enforce_keys [:pid, :all, :rounds]
  defstruct @enforce_keys

  @spec start(:inet.port_number()) :: %__MODULE__{}
  def start(port) do
    all = Latencies.new()
    rounds = :ets.new(:rounds, [:public])
    :ets.insert(rounds, {:now, Latencies.new()})
    %__MODULE__{pid: spawn_link(fn -> ask(port, all, rounds) end), all: all, rounds: rounds}
  end

  # An answer counts that came; a connection that was killed is none.
  defp ask(port, all, rounds) do
    receive do
      {:rest, from} ->
        send(from, :rests)
        receive do: (:go_on -> ask(port, all, rounds))

      :stop ->
        :ok
    after
      @pause ->
        [{:now, now}] = :ets.lookup(rounds, :now)

        Latencies.measure(all, fn ->
          Latencies.measure(now, fn ->
            HTTPClient.raw(port, HTTPClient.head("GET", "/health", [{"connection", "close"}], ""))
          end)
        end)

        ask(port, all, rounds)
    end
  end

  @doc "Waits until nothing is asked, and ends a round."
  @spec rest(%__MODULE__{}) :: :ok
  def rest(health) do
    send(health.pid, {:rest, self()})
    receive do: (:rests -> :ok)
    [{:now, now}] = :ets.lookup(health.rounds, :now)
    :ets.insert(health.rounds, [{make_ref(), Latencies.quantile(now, 0.99)}, {:now, Latencies.new()}])
    :ok
  end

  @spec go_on(%__MODULE__{}) :: :go_on
  def go_on(health), do: send(health.pid, :go_on)

  @spec stop(%__MODULE__{}) :: :stop
  def stop(health), do: send(health.pid, :stop)

  @doc "p99 of all, in ms."
  @spec p99(%__MODULE__{}) :: float()
  def p99(health), do: Latencies.quantile(health.all, 0.99)

  @doc "The highest p99 of a round, in ms."
  @spec worst(%__MODULE__{}) :: float()
  def worst(health) do
    rounds = for {round, p99} <- :ets.tab2list(health.rounds), is_reference(round), do: p99
    rounds |> Enum.max() |> Float.round(2)
  end

  @spec describe(%__MODULE__{}) :: String.t()
  def describe(health), do: Latencies.describe(health.all)
end
