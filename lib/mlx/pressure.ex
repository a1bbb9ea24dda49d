defmodule Mlx.Pressure do
  @moduledoc false
  # The virtual machine does not see the memory of arrays: a process can hold gigabytes of them, dead, in a heap so small
  # that nothing calls for a garbage collection. So each time a process has evaluated something, MLX's active memory is
  # compared with what it was after the last collection that was made here, and when it has grown by `:gc_threshold`
  # bytes the process is collected:
  #
  #     config :mlx, gc_threshold: 512 * 1024 * 1024     # or :infinity for never
  #
  # Memory that is in use does not shrink by this, and is the mark from which the next growth counts. The number of arrays
  # is watched in the same way: Metal has room for half a million buffers, however small they are.
  #
  # Where more than `Mlx.Memory.limit/0` is in use after that, or after the first evaluation of a process, all processes are
  # collected. In a container there is no second try: it ends the process that asks for more than there is. So a small
  # limit makes the threshold small as well.

  alias Mlx.{Native, Telemetry}

  @key {__MODULE__, :mark}
  @floor {__MODULE__, :floor}
  @threshold 256 * 1024 * 1024
  @array_threshold 100_000

  # Of a small limit.
  @least_threshold 4 * 1024 * 1024
  @parts_of_limit 8

  # What MLX says when it gets no buffer: of the number of buffers on Metal, and of memory on a GPU and on any device.
  @no_buffer ["Resource limit (", "out of memory", "Unable to allocate"]

  @beyond_limit "more than the limit of Mlx.Memory.limit/0 is in use"

  @doc """
  Runs an evaluation. When MLX gets no memory for it, everything that is dead or free is given back, and it runs once
  more. Afterwards the calling process is collected if MLX's memory, or the number of arrays, has grown enough.
  """
  @spec watch((-> result)) :: result when result: term()
  def watch(evaluate) do
    result = with_room(evaluate)
    relieve()
    result
  end

  defp relieve do
    {bytes, arrays} = held = Native.get_held_memory()

    case Process.get(@key) do
      {bytes_mark, arrays_mark} when bytes >= bytes_mark and arrays >= arrays_mark ->
        if grown?(bytes - bytes_mark) or arrays - arrays_mark > @array_threshold, do: collect_enough(held)

      {bytes_mark, arrays_mark} ->
        Process.put(@key, {min(bytes, bytes_mark), min(arrays, arrays_mark)})

      nil ->
        Process.put(@key, held)
        if scarce?(bytes), do: make_room(@beyond_limit)
    end
  end

  # An atom is greater than every number.
  defp grown?(bytes), do: bytes > 0 and bytes > threshold()

  defp threshold do
    Application.get_env(:mlx, :gc_threshold) ||
      Native.get_memory_limit() |> div(@parts_of_limit) |> min(@threshold) |> max(@least_threshold)
  end

  defp collect_enough(held) do
    collect()
    Telemetry.execute([:memory, :collect], taken(held))
    if scarce?(Native.get_active_memory()), do: make_room(@beyond_limit)
  end

  # What is beyond the limit and alive stays so: all processes are collected once more when it has grown again.
  defp scarce?(bytes) do
    floor = :persistent_term.get(@floor, 0)
    beyond = bytes > Native.get_memory_limit()
    if not beyond and floor > 0, do: :persistent_term.put(@floor, 0)
    beyond and grown?(bytes - floor)
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
    :erlang.garbage_collect()
    # What was collected is freed as soon as the scheduler is free.
    :erlang.yield()
    Process.put(@key, Native.get_held_memory())
    :ok
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
    {bytes, _arrays} = left = Native.get_held_memory()
    Process.put(@key, left)
    :persistent_term.put(@floor, bytes)
    Telemetry.execute([:memory, :exhausted], taken(held), %{reason: reason})
  end

  # The measurements of an event, for what was held before.
  defp taken({bytes_before, _arrays_before}) do
    {bytes, arrays} = Native.get_held_memory()
    %{freed: bytes_before - bytes, active: bytes, arrays: arrays}
  end
end
