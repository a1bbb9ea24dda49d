defmodule Mlx.Values.Garbage.Requests do
  @moduledoc false
  # Garbage collections of other processes. Each is asked for without waiting for the one before, since a process is
  # collected where and when it may run.
  #
  # To collect a process with a large heap takes long, so it rests afterwards: collections take a tenth of its time at
  # most. A process that runs a native function is collected at the end of that, however long it takes. So the clock of
  # a full collection starts with the answer to a collection of the young generation, which was asked for first.

  # How long who asks waits, in milliseconds.
  @patience 20

  # How many times it asks whether destructors have run, before it sleeps.
  @looks 50

  @rest_per_duration 10
  @longest_rest 10_000

  defstruct open: %{}, resting: %{}

  @typep milliseconds :: integer()

  @typedoc "The requests that are open, with their processes and when these began, and when the rest of processes ends."
  @type t :: %__MODULE__{
          open: %{reference() => {pid(), milliseconds()}},
          resting: %{pid() => milliseconds()}
        }

  @doc """
  Collects those of the processes that do not rest. Returns when `freed?` says that what was dead is freed, and soon in any
  case.
  """
  @spec collect(t(), [pid()], (-> boolean())) :: t()
  def collect(%__MODULE__{} = requests, processes, freed?) do
    now = now()
    requests = %{requests | resting: Map.reject(requests.resting, fn {_process, ending} -> ending < now end)}
    busy = for {_request, {process, _started}} <- requests.open, into: requests.resting, do: {process, now}
    wanted = Enum.reject(processes, &(&1 == self() or is_map_key(busy, &1)))
    asked = Map.new(wanted, &{ask(&1), {&1, now}})
    requests = await(%{requests | open: Map.merge(requests.open, asked)}, map_size(requests.open), now + @patience)
    await_destructors(freed?, @looks)
    requests
  end

  # Destructors run as soon as the schedulers are free. Others compute meanwhile, and are not watched.
  defp await_destructors(_freed?, 0), do: Process.sleep(1)

  defp await_destructors(freed?, looks) do
    :erlang.yield()
    if not freed?.(), do: await_destructors(freed?, looks - 1)
  end

  @doc "Takes note of the answer to a request: a process begins a full collection, or has been collected."
  @spec answered(t(), reference() | {:young, reference()}) :: t()
  def answered(%__MODULE__{} = requests, {:young, request}) do
    # A process that is collected while it runs may give its answers the other way round.
    open = Map.replace_lazy(requests.open, request, fn {process, _asked} -> {process, now()} end)
    %{requests | open: open}
  end

  def answered(%__MODULE__{} = requests, request) do
    {{process, started}, open} = Map.pop!(requests.open, request)
    duration = now() - started
    rest = min(@rest_per_duration * duration, @longest_rest)
    resting = if duration > @patience, do: Map.put(requests.resting, process, now() + rest), else: requests.resting
    %{requests | open: open, resting: resting}
  end

  defp ask(process) do
    request = make_ref()
    :async = :erlang.garbage_collect(process, async: {:young, request}, type: :minor)
    :async = :erlang.garbage_collect(process, async: request)
    request
  end

  # Until no more are open than before.
  defp await(requests, before, deadline) do
    if map_size(requests.open) > before do
      receive do
        {:garbage_collect, request, _result} -> requests |> answered(request) |> await(before, deadline)
      after
        max(deadline - now(), 0) -> requests
      end
    else
      requests
    end
  end

  defp now, do: System.monotonic_time(:millisecond)
end
