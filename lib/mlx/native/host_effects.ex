defmodule Mlx.Native.HostEffects do
  @moduledoc false
  # What the native library does to the virtual machine that loads it, and what the configuration can leave out:
  #
  #     config :mlx, malloc_thresholds: false
  #
  # Read once, when the library is loaded. The exit handler has no switch: without it the process crashes when threads
  # compute while it ends.

  @doc "Whether the thresholds of malloc are to be set; or what is wrong with the configuration."
  @spec malloc_thresholds() :: {:ok, boolean()} | {:error, String.t()}
  def malloc_thresholds do
    case Application.get_env(:mlx, :malloc_thresholds, true) do
      wanted when is_boolean(wanted) -> {:ok, wanted}
      other -> {:error, "config :mlx has malloc_thresholds: #{inspect(other)}, expected true or false"}
    end
  end
end
