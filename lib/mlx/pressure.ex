defmodule Mlx.Pressure do
  @moduledoc false
  # The virtual machine does not see the memory of arrays: a process can hold gigabytes of them, dead, in a heap so small
  # that nothing calls for a garbage collection. So each time a process has evaluated something, MLX's active memory is
  # compared with what it was after the last collection that was made here, and when it has grown by `:gc_threshold`
  # bytes the process is collected:
  #
  #     config :mlx, gc_threshold: 512 * 1024 * 1024     # or :infinity for never
  #
  # Memory that is in use does not shrink by this, and is the mark from which the next growth counts.

  alias Mlx.Native

  @key {__MODULE__, :mark}
  @threshold 256 * 1024 * 1024

  @doc "Collects the calling process when MLX's memory has grown enough since the last time."
  @spec relieve() :: :ok
  def relieve do
    active = Native.get_active_memory()

    case Process.get(@key) do
      mark when is_integer(mark) and active >= mark -> if active - mark > threshold(), do: collect()
      _none_or_shrunk -> Process.put(@key, active)
    end

    :ok
  end

  defp collect do
    :erlang.garbage_collect()
    # What was collected is freed as soon as the scheduler is free.
    :erlang.yield()
    Process.put(@key, Native.get_active_memory())
  end

  # An atom is greater than every number.
  defp threshold, do: Application.get_env(:mlx, :gc_threshold, @threshold)
end
