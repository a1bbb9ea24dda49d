defmodule Mlx.Conformance.Constants do
  @moduledoc """
  The names of `mlx.core`, and the numbers that some of them stand for.
  """

  alias Mlx.Conformance.Mapping

  @doc "All names of Python, with their values where they are numbers."
  def names, do: Map.new(Mapping.names(), &{&1, value(Mapping.function(&1), Mapping.atom(&1))})

  defp value({Mlx.Constants, name}, _atom), do: apply(Mlx.Constants, name, [])
  defp value(_function, atom) when atom in [:infinity, :nan], do: atom
  defp value(_function, _atom), do: nil
end
