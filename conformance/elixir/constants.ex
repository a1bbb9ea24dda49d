defmodule Mlx.Conformance.Constants do
  @moduledoc """
  The names of `mlx.core`, and the numbers that some of them stand for.
  """

  alias Mlx.Conformance.Mapping

  @numbers %{
    "mlx.core.pi" => :math.pi(),
    "mlx.core.e" => :math.exp(1),
    "mlx.core.euler_gamma" => 0.5772156649015329,
    "mlx.core.inf" => :infinity,
    "mlx.core.nan" => :nan
  }

  @doc "All names of Python, with their values where they are numbers."
  def names, do: Map.new(Mapping.names(), &{&1, Map.get(@numbers, &1)})
end
