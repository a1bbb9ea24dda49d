defmodule Mlx.Metal do
  @moduledoc """
  What is special to Apple's GPUs. On other machines `available?/0` is false, and captures do nothing.

  Python: `mlx.core.metal`.
  """

  alias Mlx.IO.FilePath
  alias Mlx.Native

  @doc """
  Whether the library was built for Metal.

      iex> Mlx.Metal.available?() == match?({:unix, :darwin}, :os.type())
      true

  Python: `mlx.core.metal.is_available`.
  """
  @spec available?() :: boolean()
  def available?, do: Native.metal_is_available()

  @doc """
  Starts to record the work of the GPU in a file for Xcode, whose path should end in `.gputrace`.

  The process has to be started with `MTL_CAPTURE_ENABLED=1`. Raises an `Mlx.Error` where the recording cannot start,
  for example because there is such a file.

      iex> unless Mlx.Metal.available?(), do: Mlx.Metal.start_capture("work.gputrace")
      iex> Mlx.Metal.stop_capture()
      :ok

  Python: `mlx.core.metal.start_capture`.
  """
  @spec start_capture(Path.t()) :: :ok
  def start_capture(path), do: path |> FilePath.string!(:"Metal.start_capture") |> Native.metal_start_capture()

  @doc """
  Ends the recording that `start_capture/1` began.

      iex> Mlx.Metal.stop_capture()
      :ok

  Python: `mlx.core.metal.stop_capture`.
  """
  @spec stop_capture() :: :ok
  def stop_capture, do: Native.metal_stop_capture()
end
