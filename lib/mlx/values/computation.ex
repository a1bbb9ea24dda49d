defmodule Mlx.Values.Computation do
  @moduledoc false
  # What has arrays computed: an event of `Mlx.Telemetry` with a duration, which gets memory when there is none left, and
  # after which it is known whether kernels could be made.

  alias Mlx.{Array, Telemetry}
  alias Mlx.Transforms.KernelMaking
  alias Mlx.Values.Garbage

  @doc "What `compute` returns, which evaluates or reads `arrays` for the public function `function`."
  @spec run(:eval | :read, String.t(), [Array.t()], (-> result)) :: result when result: term()
  def run(event, function, arrays, compute) do
    if Telemetry.on?() do
      result = Telemetry.span(event, function, arrays, fn -> Garbage.watch(compute) end)
      KernelMaking.announce_failure()
      result
    else
      Garbage.watch(compute)
    end
  end
end
