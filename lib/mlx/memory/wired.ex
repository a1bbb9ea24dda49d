defmodule Mlx.Memory.Wired do
  @moduledoc false
  # Wired memory, held for a process until it lets go or ends.

  alias Mlx.{Device, Native}

  @typedoc "What `release/1` takes: the process that holds, or nil when there is nothing to hold."
  @type holder :: pid() | nil

  @doc "Holds so many bytes, or what Metal recommends, which is nothing where there is no Metal."
  @spec hold(non_neg_integer() | :recommended) :: holder()
  def hold(:recommended) do
    if bytes = recommended(), do: start(bytes)
  end

  def hold(bytes) when is_integer(bytes) and bytes >= 0, do: start(bytes)

  def hold(other) do
    raise ArgumentError,
          "Mlx.Memory.with_wired: expected a number of bytes or :recommended, got: #{inspect(other)}"
  end

  @doc "Lets go; the limit is lower when this returns."
  @spec release(holder()) :: :ok
  def release(nil), do: :ok

  def release(holder) do
    monitor = Process.monitor(holder)
    send(holder, :release)

    receive do
      {:DOWN, ^monitor, :process, ^holder, _reason} -> :ok
    end
  end

  # The holder is a separate process: when the owner is killed, it is still there to let go.
  defp start(bytes) do
    owner = self()
    tag = make_ref()
    holder = spawn(fn -> hold_for(owner, tag, bytes) end)

    receive do
      {^tag, :ok} -> holder
      {^tag, error} -> raise error
    end
  end

  defp hold_for(owner, tag, bytes) do
    monitor = Process.monitor(owner)
    Native.hold_wired_memory(bytes)
    send(owner, {tag, :ok})

    receive do
      :release -> :ok
      {:DOWN, ^monitor, :process, ^owner, _reason} -> :ok
    end

    Native.release_wired_memory(bytes)
  rescue
    error -> send(owner, {tag, error})
  end

  defp recommended do
    if Native.metal_is_available(), do: Device.info(:gpu)["max_recommended_working_set_size"]
  end
end
