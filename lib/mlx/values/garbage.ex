defmodule Mlx.Values.Garbage do
  @moduledoc false
  # The virtual machine does not see the memory of arrays: a process can hold gigabytes of them, dead, in a heap so small
  # that nothing calls for a garbage collection. A dead handle also holds the node of an array that is not computed yet, so
  # that MLX can neither free nor reuse its buffer while it computes what rests on it.
  #
  # The native library knows how many bytes of arrays each process made since its last collection. Before something is
  # computed, the calling process is collected when that is worth its time, and so are other processes that made much. The
  # number of arrays counts as well: Metal has room for half a million buffers, however small they are.
  #
  # `Mlx.Values.Garbage.Collector` looks for what is left: dead arrays of processes that wait, or that only pass arrays on.
  #
  # Where more than `Mlx.Memory.limit/0` is in use all the same, all processes are collected. In a container there is no
  # second try: it ends the process that asks for more than there is.

  alias Mlx.{Native, Telemetry}
  alias Mlx.Values.Garbage.Collector

  # A process that made much, others that did, and a limit that is exceeded.
  @reasons 3

  # What is left of the dead arrays after a collection of the young generation.
  @little 1_048_576

  # Processes that make nothing but small arrays are collected by the virtual machine soon enough.
  @small_upload 65_536

  # A full collection is worth its time for this many times as many bytes as there are on the heap, which is copied: to let
  # as much memory lie fallow costs about as much, since each new page of memory has to be cleared. What the heap has room for
  # beyond that costs nothing.
  @bytes_per_byte_of_heap 4

  # What MLX says when it gets no buffer: of the number of buffers on Metal, and of memory on a GPU and on any device.
  @no_buffer ["Resource limit (", "out of memory", "Unable to allocate"]

  @beyond_limit "more than the limit of Mlx.Memory.limit/0 is in use"

  @doc """
  Runs an evaluation, after the collections that it is worth. When MLX gets no memory for it, everything that is dead or
  free is given back, and it runs once more.
  """
  @spec watch((-> result)) :: result when result: term()
  def watch(evaluate) do
    relieve(@reasons)
    with_room(evaluate)
  end

  @doc """
  Runs what copies so many bytes into an array. For little memory the process is not collected: it may be building a graph
  of much that is not computed yet, and would be collected for each number in it.
  """
  @spec watch_upload(non_neg_integer(), (-> result)) :: result when result: term()
  def watch_upload(bytes, upload) when bytes < @small_upload, do: with_room(upload)
  def watch_upload(_bytes, upload), do: watch(upload)

  # One collection for each reason that there is.
  defp relieve(0), do: :ok

  defp relieve(reasons) do
    if reason = Native.needed_collection() do
      collect_for(reason)
      relieve(reasons - 1)
    end
  end

  defp collect_for(:make_room), do: make_room(@beyond_limit)
  defp collect_for(:collect_others), do: Collector.collect_overfull()

  defp collect_for(:collect) do
    bytes = Native.uncollected_bytes()
    if Collector.on?(), do: collect_worthwhile(bytes), else: Native.collected(self(), bytes)
  end

  defp collect_worthwhile(bytes) do
    held = Native.get_held_memory()
    run_collection(type: :minor)
    left = left_uncollected()

    cond do
      left < @little ->
        Native.collected(self(), bytes)

      left > @bytes_per_byte_of_heap * bytes_on_heap() ->
        run_collection(type: :major)
        Native.collected(self(), bytes)

      true ->
        Native.postpone_collection()
    end

    Telemetry.execute([:memory, :collect], taken(held))
  end

  # Little, or what is left once destructors have run for sure.
  defp left_uncollected do
    if Native.uncollected_bytes() >= @little, do: await_destructors()
    Native.uncollected_bytes()
  end

  # The destructors of what `Mlx.Values.Garbage.Collector` had collected run on the scheduler where that was. These figures
  # come from all schedulers, each of which answers after it has done what it was given before.
  defp await_destructors, do: :erlang.statistics(:garbage_collection)

  # What the last collection left. Of a process that runs, `:heap_size` is what it has room for.
  defp bytes_on_heap do
    {:garbage_collection_info, sizes} = Process.info(self(), :garbage_collection_info)
    (sizes[:recent_size] + sizes[:old_heap_size]) * :erlang.system_info(:wordsize)
  end

  # What was collected is freed as soon as the scheduler is free.
  defp run_collection(options) do
    :erlang.garbage_collect(self(), options)
    :erlang.yield()
  end

  defp with_room(evaluate) do
    evaluate.()
  rescue
    error in Mlx.Error ->
      if String.contains?(error.message, @no_buffer) do
        make_room(error.message)
        evaluate.()
      else
        reraise error, __STACKTRACE__
      end
  end

  @doc "Collects the calling process, and gives back what is dead."
  @spec collect() :: :ok
  def collect do
    before = Native.uncollected_bytes()
    run_collection(type: :major)
    await_destructors()
    Native.collected(self(), before)
  end

  @doc "Gives everything back that is dead or free where more than so many bytes are in use or kept in the cache."
  @spec keep_within(non_neg_integer()) :: :ok
  def keep_within(bytes) do
    if Native.get_active_memory() + Native.get_cache_memory() > bytes, do: make_room(@beyond_limit), else: :ok
  end

  defp make_room(reason) do
    held = Native.get_held_memory()
    Enum.each(Process.list(), &:erlang.garbage_collect/1)
    :erlang.yield()
    Native.clear_cache()
    Native.room_made()
    Telemetry.execute([:memory, :exhausted], taken(held), %{reason: reason})
  end

  # The measurements of an event, for what was held before.
  defp taken({bytes_before, _arrays_before}) do
    {bytes, arrays} = Native.get_held_memory()
    %{freed: bytes_before - bytes, active: bytes, arrays: arrays}
  end
end
