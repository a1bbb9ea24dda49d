defmodule Mlx.OnCPU do
  @moduledoc "For tests of f64, which no GPU has."

  @doc "Has the test's process compute on the CPU: `setup {Mlx.OnCPU, :choose}`."
  @spec choose(map()) :: :ok
  def choose(_context), do: Mlx.Native.choose_stream(Mlx.Stream.default(:cpu).ref)
end
