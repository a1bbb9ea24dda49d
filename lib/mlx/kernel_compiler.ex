defmodule Mlx.KernelCompiler do
  @moduledoc false
  # The C++ compiler of the machine, by which MLX makes fused kernels for a CPU.

  @doc """
  Lets MLX use it. This has to happen before the first function is compiled: MLX looks for it once and for all.
  """
  @spec allow() :: :ok
  # MLX waits for the C++ compiler to end, and the VM ignores the signal that this needs.
  def allow, do: :os.set_signal(:sigchld, :default)
end
