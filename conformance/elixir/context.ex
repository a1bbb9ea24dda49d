defmodule Mlx.Conformance.Context do
  @moduledoc """
  What Python sets for a block: `with stream(...)`, `with printoptions(...)`. Elixir runs a function instead.
  """

  alias Mlx.Conformance.PythonError

  @doc "Runs `fun` in the context that the Python name stands for."
  def run("mlx.core.stream", [%Mlx.Stream{} = stream], fun), do: Mlx.with_stream(stream, fun)
  def run("mlx.core.stream", [{:device, device}], fun), do: Mlx.with_device(device, fun)
  def run("mlx.core.printoptions", [precision], fun), do: Mlx.PrintOptions.with_options([precision: precision], fun)
  def run(name, arguments, _fun), do: PythonError.type_error!("#{name}#{inspect(arguments)} is no context")

  @doc "The device of new operations."
  def default_device do
    case Mlx.Stream.current() do
      nil -> Mlx.Device.default()
      stream -> stream.device
    end
  end
end
