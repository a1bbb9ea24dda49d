defmodule Mlx.NN.Features do
  @moduledoc false
  # The size of the last axis of what layers take.

  alias Mlx.Array

  @doc "Raises unless the input of a layer has so many features."
  @spec check!(Array.t(), pos_integer(), String.t()) :: :ok
  def check!(%Array{shape: shape}, size, _function) when elem(shape, tuple_size(shape) - 1) == size, do: :ok

  def check!(%Array{shape: shape}, size, function) do
    raise ArgumentError, "#{function}: expected an input of the shape {..., #{size}}, got: #{inspect(shape)}"
  end
end
