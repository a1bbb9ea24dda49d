defmodule Mlx.Conformance.Context do
  @moduledoc """
  What Python sets for a block or for good, where Elixir runs a function in a context: the stream and the default device.
  """

  alias Mlx.Conformance.PythonError

  @default :default_device

  @doc "Runs `fun` in the context that the Python name stands for."
  def run("mlx.core.stream", [%Mlx.Stream{} = stream], fun), do: Mlx.with_stream(stream, fun)
  def run("mlx.core.stream", [{:device, device}], fun), do: Mlx.with_device(device, fun)
  def run(name, arguments, _fun), do: PythonError.type_error!("#{name}#{inspect(arguments)} is no context")

  @doc "Runs `fun` with the device that Python chose, unless a context that is entered chooses another."
  def with_default_device(fun) do
    case Process.get(@default) do
      nil -> fun.()
      device -> if Mlx.Stream.current(), do: fun.(), else: Mlx.with_device(device, fun)
    end
  end

  @doc "The device of new operations."
  def default_device do
    case Mlx.Stream.current() do
      nil -> Process.get(@default) || Mlx.Device.default()
      stream -> stream.device
    end
  end

  @doc "Chooses the device of new operations. Raises where there is none."
  def set_default_device(device) do
    Mlx.Stream.default(device)
    if device == Mlx.Device.default(), do: Process.delete(@default), else: Process.put(@default, device)
    :ok
  end
end
