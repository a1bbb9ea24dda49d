defmodule Mlx.Transforms.KernelMaking do
  @moduledoc false
  # The C++ compiler of the machine, by which MLX makes fused kernels for a CPU: in the background, where
  #
  #     config :mlx, kernels: :wait     # or :never
  #
  # says nothing else.

  alias Mlx.{Native, Telemetry}
  alias Mlx.Transforms.KernelFolder

  @allowed {__MODULE__, :allowed}
  @announced {__MODULE__, :announced}

  @doc """
  Lets MLX use it, and makes room for what it makes. This has to happen before the first function is compiled: MLX looks
  for it once and for all.
  """
  @spec allow() :: :ok
  def allow do
    making = Application.get_env(:mlx, :kernels, :background)
    # MLX waits for the C++ compiler to end, and the VM ignores the signal that this needs.
    if making != :never, do: :ok = :os.set_signal(:sigchld, :default)
    Native.set_kernel_making(making)

    if not :persistent_term.get(@allowed, false) do
      :persistent_term.put(@allowed, true)
      if folder = KernelFolder.path(), do: spawn(fn -> KernelFolder.prune(folder) end)
    end

    :ok
  end

  @doc "Why the last kernel that could not be made was not, or nil."
  @spec failure() :: String.t() | nil
  def failure do
    if message = Native.kernel_failure(), do: KernelFolder.problem() || explain(message)
  end

  @doc "Emits the event that operations are not fused, once for each failure that is unlike the one before."
  @spec announce_failure() :: :ok
  def announce_failure do
    # Nothing fails where nothing was compiled.
    message = :persistent_term.get(@allowed, false) && Native.kernel_failure()

    if message && message != :persistent_term.get(@announced, nil) do
      :persistent_term.put(@announced, message)
      Telemetry.fallback("Mlx.compile", [], :cpu, failure())
    end

    :ok
  end

  defp explain(message) do
    case Regex.run(~r/return code (\d+):.*the output is: ?([^\n]*)/s, message) do
      [_all, status, ""] -> "g++ ended with exit status #{status}"
      [_all, status, output] -> "g++ ended with exit status #{status}: #{output}"
      nil -> message
    end
  end
end
