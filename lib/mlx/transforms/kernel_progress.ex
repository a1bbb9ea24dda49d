defmodule Mlx.Transforms.KernelProgress do
  @moduledoc false
  # Tells of kernels that are made in the background: functions are slower until they are there, which can take minutes.
  #
  # Nobody is told of a kernel that is there within a second. MLX first asks for kernels when a recorded function is
  # evaluated, so this looks for them for a while after each recording.

  use GenServer

  alias Mlx.Native

  require Logger

  @between_looks 1_000
  @looks 30

  @spec start_link(keyword()) :: GenServer.on_start()
  def start_link(_options), do: GenServer.start_link(__MODULE__, nil, name: __MODULE__)

  @doc "Looks for kernels from now on, as a function was recorded."
  @spec watch() :: :ok
  def watch, do: GenServer.cast(__MODULE__, :watch)

  @impl true
  def init(nil), do: {:ok, %{looks: 0, before: 0, told: false, timer: nil}}

  @impl true
  def handle_cast(:watch, state), do: {:noreply, look_again(%{state | looks: @looks})}

  @impl true
  def handle_info(:look, state) do
    open = Native.open_kernels()
    state = tell(%{state | timer: nil}, open)
    {:noreply, look_again(%{state | looks: state.looks - 1, before: open})}
  end

  defp tell(%{told: false, before: before} = state, open) when open > 0 and before > 0 do
    Logger.info(
      "Mlx makes #{open} more kernels for compiled functions, in the background. These functions compute " <>
        "operation by operation until then. To wait for kernels: config :mlx, kernels: :wait"
    )

    %{state | told: true}
  end

  defp tell(%{told: true} = state, 0) do
    Logger.info("Mlx has made all kernels for compiled functions")
    %{state | told: false}
  end

  defp tell(state, _open), do: state

  defp look_again(%{timer: nil, looks: looks, before: open} = state) when looks > 0 or open > 0 do
    %{state | timer: Process.send_after(self(), :look, @between_looks)}
  end

  defp look_again(state), do: state
end
