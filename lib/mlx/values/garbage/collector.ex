defmodule Mlx.Values.Garbage.Collector do
  @moduledoc false
  # Collects processes that hold dead arrays and will not be collected for an evaluation of theirs: a server that waits for
  # its next request, a process that builds graphs which another one evaluates, one that only passes arrays on.
  #
  # The native library sends `:memory_grew` when MLX's active memory has grown by `:gc_threshold` bytes:
  #
  #     config :mlx, gc_threshold: 64 * 1024 * 1024     # or :infinity to collect nothing at all
  #
  # Then all processes are collected; where there are many, first those that made much since their last collection, and the
  # others when that does not help. What they still hold is alive; so where little was freed, memory may grow twice as far
  # before the next time.
  #
  # Until all processes that made much were collected, the collector looks each second for one that has made nothing since
  # the last look. Where a collection freed little, all are collected once more at the next look: some were busy.

  use GenServer

  alias Mlx.Native
  alias Mlx.Values.Garbage.Requests

  @threshold 16 * 1024 * 1024
  @little 1024 * 1024
  @between_looks 1_000

  # To collect fewer than this takes a few milliseconds.
  @many 2_000

  # How long an evaluation waits for others, in milliseconds.
  @patience 100

  @spec start_link(keyword()) :: GenServer.on_start()
  def start_link(_options), do: GenServer.start_link(__MODULE__, nil, name: __MODULE__)

  @doc "Whether dead arrays are collected."
  @spec on?() :: boolean()
  def on?, do: threshold() != :infinity

  @doc "Collects the processes that hold so much that an evaluation should not begin before. Returns soon in any case."
  @spec collect_overfull() :: :ok
  def collect_overfull do
    GenServer.call(__MODULE__, :collect_overfull, @patience)
  catch
    # It is not there, or collects something else: nobody waits for these processes a second time.
    :exit, _reason -> forget(others(Native.overfull_processes()))
  end

  # A library that does not load says so in each call.
  @impl true
  def init(nil) do
    # Who makes arrays does not wait for it.
    Process.flag(:priority, :high)
    report_growth(threshold())
    {:ok, %{requests: %Requests{}, factor: 1, in_vain: false, waiting: %{}, timer: nil}, {:continue, :load}}
  rescue
    Mlx.Error -> :ignore
  end

  # Code that the first collection would have to wait for is there before: memory grows meanwhile.
  @impl true
  def handle_continue(:load, state), do: {:noreply, state |> collect([]) |> look_again()}

  @impl true
  def handle_call(:collect_overfull, _from, state) do
    {:reply, :ok, state |> collect(others(Native.overfull_processes())) |> look_again()}
  end

  @impl true
  def handle_info(:memory_grew, state), do: {:noreply, state |> relieve(threshold()) |> look_again()}
  def handle_info(:look, state), do: {:noreply, state |> collect_waiting() |> look_again()}

  def handle_info({:garbage_collect, request, _result}, state),
    do: {:noreply, %{state | requests: Requests.answered(state.requests, request)}}

  defp relieve(state, :infinity) do
    report_growth(@threshold)
    state
  end

  defp relieve(state, threshold) do
    before = Native.get_active_memory()
    freed_enough? = fn -> before - Native.get_active_memory() >= div(threshold, 2) end
    state = collect_all(state, freed_enough?)
    in_vain = not freed_enough?.()
    factor = if in_vain, do: min(2 * state.factor, greatest_factor(threshold)), else: 1
    report_growth(threshold * factor)
    %{state | factor: factor, in_vain: in_vain}
  end

  # A quarter of what is in use.
  defp greatest_factor(threshold), do: max(1, div(Native.get_active_memory(), 4 * threshold))

  defp collect_all(state, freed_enough?) do
    makers = uncollected(@little)
    made = Map.new(makers)
    others = Enum.reject(Process.list(), &is_map_key(made, &1))

    if length(others) < @many do
      collect(state, makers, others)
    else
      state = collect(state, makers)
      if freed_enough?.(), do: state, else: collect(state, [], others)
    end
  end

  defp collect_waiting(%{in_vain: true} = state), do: collect_all(%{state | in_vain: false}, fn -> false end)

  defp collect_waiting(state) do
    collect(state, Enum.filter(uncollected(@little), fn {process, bytes} -> state.waiting[process] == bytes end))
  end

  # Each second, for as long as there is somebody to collect.
  defp look_again(state) do
    if state.timer, do: Process.cancel_timer(state.timer)
    made = Map.new(uncollected(@little))
    timer = if (made != %{} or state.in_vain) and on?(), do: Process.send_after(self(), :look, @between_looks)
    %{state | waiting: made, timer: timer}
  end

  defp collect(state, makers, others \\ []) do
    processes = for({process, _bytes} <- makers, do: process) ++ others
    before = Native.get_active_memory()
    freed? = fn -> freed?(makers) and (others == [] or Native.get_active_memory() < before) end
    requests = if on?(), do: Requests.collect(state.requests, processes, freed?), else: state.requests
    forget(makers)
    %{state | requests: requests}
  end

  # Whether a process was freed of most, or has made more since.
  defp freed?(makers) do
    now = Map.new(uncollected(@little))
    Enum.all?(makers, fn {process, bytes} -> Map.get(now, process, 0) not in div(bytes, 2)..bytes end)
  end

  # What is left of their growth counts as alive.
  defp forget(makers), do: Enum.each(makers, fn {process, bytes} -> Native.collected(process, bytes) end)

  defp uncollected(least), do: others(Native.uncollected_processes(least))

  defp others(makers), do: for({process, bytes} <- makers, process != self(), do: {process, bytes})

  defp report_growth(:infinity), do: report_growth(@threshold)
  defp report_growth(bytes), do: Native.report_growth(bytes)

  defp threshold, do: Application.get_env(:mlx, :gc_threshold) || @threshold
end
