defmodule Mlx.Device do
  @moduledoc """
  The devices that MLX computes on: `:cpu`, and `:gpu` where there is one.

  Arrays live in memory that is shared by the devices of a machine, so a device is chosen for operations and not for
  arrays: `Mlx.with_device/2` chooses one for a function, the `:stream` option for one operation.
  """

  alias Mlx.Native

  @type t :: :cpu | :gpu

  @doc """
  The device that is used when none is chosen: the GPU where there is one.

      iex> Mlx.Device.default() in [:cpu, :gpu]
      true

  Python: `mlx.core.default_device`.
  """
  @spec default() :: t()
  def default, do: Native.default_device()

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
  What MLX knows about a device, as a map with string keys such as `"device_name"`.

      iex> is_map(Mlx.Device.info(:cpu))
      true

  Python: `mlx.core.device_info`.
  """
  @spec info(t(), non_neg_integer()) :: %{binary() => term()}
  def info(device, index \\ 0), do: Native.device_info(device, index)
end
