defmodule Mlx.LM.CacheRows do
  @moduledoc false
  # Caches of a batch whose rows have read different numbers of positions: the length is an array `{batch}`. It says where in
  # the buffers `{batch, heads, room, features}` each row goes on, and what it sees.

  alias Mlx.Array

  @doc """
  The positions of the next `count` tokens of each row, `{batch, 1, count, 1}`, from where each row is, `{batch}`, or as they
  are given, `{batch, count}`.
  """
  @spec positions(Array.t(), pos_integer()) :: Array.t()
  def positions(%Array{shape: {batch, count}} = positions, count), do: Mlx.reshape(positions, {batch, 1, count, 1})

  def positions(%Array{shape: {batch}} = start, count) do
    0
    |> Mlx.arange(count, type: :s32)
    |> Mlx.reshape({1, 1, count, 1})
    |> Mlx.add(Mlx.reshape(start, {batch, 1, 1, 1}))
  end

  @doc "The buffers with `part`, `{batch, heads, count, features}`, at these places, `{batch, 1, count, 1}`."
  @spec write(Array.t(), Array.t(), Array.t()) :: Array.t()
  def write(buffer, %Array{} = part, places) do
    Mlx.put_along_axis(buffer, Mlx.broadcast(places, part.shape), part, axis: 2)
  end

  @doc "Which places of a buffer the positions see, `{batch, 1, count, room}`, when the place is the position."
  @spec seen(Array.t(), pos_integer()) :: Array.t()
  def seen(positions, room) do
    0 |> Mlx.arange(room, type: :s32) |> Mlx.reshape({1, 1, 1, room}) |> Mlx.less_equal(positions)
  end
end
