defmodule Mlx.Pressure.Collector do
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
  # Until all those processes were collected, the collector looks each second for one that has made nothing since the last
  # look.

  use GenServer

  alias Mlx.Native

  @threshold 16 * 1024 * 1024
  @much 16 * 1024 * 1024
  @little 1024 * 1024
  @between_looks 1_000

  # To collect fewer than this takes a few milliseconds.
  @many 2_000

  # A process that runs a long native function is collected at its end.
  @patience 20

  @spec start_link(keyword()) :: GenServer.on_start()
  def start_link(_options), do: GenServer.start_link(__MODULE__, nil, name: __MODULE__)

  @doc "Whether dead arrays are collected."
  @spec on?() :: boolean()
  def on?, do: threshold() != :infinity

  @doc "Collects the processes that hold so much that an evaluation should not begin before. Returns soon in any case."
  @spec collect_overfull() :: :ok
  def collect_overfull do
    GenServer.call(__MODULE__, :collect_overfull, 5 * @patience)
  catch
    # It is not there, or collects something else: nobody waits for these processes a second time.
    :exit, _reason -> forget(uncollected(@much))
  end

  # A library that does not load says so in each call.
  @impl true
  def init(nil) do
    # Who makes arrays does not wait for it.
    Process.flag(:priority, :high)
    report_growth(threshold())
    {:ok, %{factor: 1, waiting: %{}}}
  rescue
    Mlx.Error -> :ignore
  end

  @impl true
  def handle_call(:collect_overfull, _from, state) do
    if on?(), do: collect(uncollected(@much)), else: forget(uncollected(@much))
    {:reply, :ok, look_again(state)}
  end

  @impl true
  def handle_info(:memory_grew, state), do: {:noreply, state |> relieve(threshold()) |> look_again()}
  def handle_info(:look, state), do: {:noreply, state |> collect_waiting() |> look_again()}
  # From a process that had no time.
  def handle_info({:garbage_collect, _request, _result}, state), do: {:noreply, state}

  defp relieve(state, :infinity) do
    report_growth(@threshold)
    state
  end

  defp relieve(state, threshold) do
    before = Native.get_active_memory()
    makers = uncollected(@little)
    others = all_but(makers)

    if length(others) < @many do
      collect(makers, others)
    else
      collect(makers)
      if freed(before) < div(threshold, 2), do: run_collections(others)
    end

    factor = if freed(before) < div(threshold, 2), do: 2 * state.factor, else: 1
    factor = min(factor, max(1, div(Native.get_active_memory(), 4 * threshold)))
    report_growth(threshold * factor)
    %{state | factor: factor}
  end

  defp freed(before), do: before - Native.get_active_memory()

  defp all_but(makers) do
    made = MapSet.new(makers, fn {process, _bytes} -> process end)
    Enum.reject(Process.list(), &(&1 == self() or &1 in made))
  end

  defp collect_waiting(state) do
    made = Map.new(uncollected(@little))
    made |> Enum.filter(fn {process, bytes} -> state.waiting[process] == bytes end) |> collect()
    %{state | waiting: made}
  end

  # Each second, for as long as there is somebody to collect.
  defp look_again(state) do
    if state[:timer], do: Process.cancel_timer(state.timer)
    made = Map.new(uncollected(@little))
    timer = if made != %{} and on?(), do: Process.send_after(self(), :look, @between_looks)
    Map.merge(state, %{waiting: made, timer: timer})
  end

  defp collect(makers, others \\ []) do
    run_collections(for({process, _bytes} <- makers, do: process) ++ others)
    forget(makers)
  end

  defp forget(makers), do: Enum.each(makers, fn {process, bytes} -> Native.collected(process, bytes) end)

  defp uncollected(least) do
    for {process, bytes} <- Native.uncollected_processes(least), process != self(), do: {process, bytes}
  end

  # All at once, since each is collected where and when it may run.
  defp run_collections(processes) do
    requests = for process <- processes, into: MapSet.new(), do: request_collection(process)
    await(requests, System.monotonic_time(:millisecond) + @patience)
    # What was collected is freed as soon as the schedulers are free.
    Process.sleep(1)
  end

  defp request_collection(process) do
    request = make_ref()
    :async = :erlang.garbage_collect(process, async: request)
    request
  end

  defp await(requests, deadline) do
    if MapSet.size(requests) > 0 do
      receive do
        {:garbage_collect, request, _result} -> requests |> MapSet.delete(request) |> await(deadline)
      after
        max(deadline - System.monotonic_time(:millisecond), 0) -> :ok
      end
    end
  end

  defp report_growth(:infinity), do: report_growth(@threshold)
  defp report_growth(bytes), do: Native.report_growth(bytes)

  defp threshold, do: Application.get_env(:mlx, :gc_threshold) || @threshold
end
