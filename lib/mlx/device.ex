defmodule Mlx.Device do
  @moduledoc """
  The devices that MLX computes on: `:cpu`, and `:gpu` where there is one.

  Arrays live in memory that is shared by the devices of a machine, so a device is chosen for operations and not for
  arrays: `Mlx.with_device/2` chooses one for a function, the `:stream` option for one operation.

  Python: `mlx.core.Device`, which is one of `mlx.core.cpu` and `mlx.core.gpu` (`DeviceType`); its `type` is the atom itself.
  """

  alias Mlx.{Native, Stream}

  @type t :: :cpu | :gpu

  @doc """
  The device that the operations of the calling process run on: the one it has chosen, or else the GPU where there is
  one.

      iex> Mlx.Device.default() in [:cpu, :gpu]
      true
      iex> Mlx.with_device(:cpu, fn -> Mlx.Device.default() end)
      :cpu

  Python: `mlx.core.default_device`.
  """
  @spec default() :: t()
  def default do
    case Stream.current() do
      nil -> Native.default_device()
      %Stream{device: device} -> device
    end
  end

  @doc """
  Chooses the device for all operations of the calling process from now on. `Mlx.with_device/2` chooses it for a function
  only.

      iex> Mlx.Device.set_default(:cpu)
      :ok
      iex> Mlx.Device.default()
      :cpu

  Python: `mlx.core.set_default_device`.
  """
  @spec set_default(t()) :: :ok
  def set_default(device) when device in [:cpu, :gpu] do
    device |> Stream.of_device("Mlx.Device.set_default") |> Stream.set_default()
  end

  def set_default(device) do
    raise ArgumentError, "Mlx.Device.set_default: expected :cpu or :gpu, got: #{inspect(device)}"
  end

  @doc """
  The number of devices of a kind.

      iex> Mlx.Device.count(:cpu)
      1

  Python: `mlx.core.device_count`.
  """
  @spec count(t()) :: non_neg_integer()
  def count(device), do: Native.device_count(device)

  @doc """
  Whether there is such a device.

      iex> Mlx.Device.available?(:cpu)
      true

  Python: `mlx.core.is_available`.
  """
  @spec available?(t(), non_neg_integer()) :: boolean()
  def available?(device, index \\ 0), do: Native.device_is_available(device, index)

  @doc """
  What MLX knows about a device, by default that of the process, as a map with string keys such as `"device_name"`.

      iex> is_map(Mlx.Device.info(:cpu))
      true

  Python: `mlx.core.device_info`.
  """
  @spec info(t(), non_neg_integer()) :: %{binary() => term()}
  def info(device \\ default(), index \\ 0), do: Native.device_info(device, index)
end
