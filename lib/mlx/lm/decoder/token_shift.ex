defmodule Mlx.LM.Decoder.TokenShift do
  @moduledoc false
  # The inputs of the positions before, and what the next call needs for that.

  alias Mlx.Array

  @doc "The inputs before those of `x`, `{batch, length, width}`, whose first one is `last`, `nil` for zeros; and the last of `x`."
  @spec call(Array.t(), Array.t() | nil) :: {Array.t(), Array.t()}
  def call(%Array{shape: {batch, length, width}} = x, last) do
    last = last || Mlx.zeros({batch, 1, width}, type: x.type)
    next = Mlx.slice(x, [0, length - 1, 0], [batch, 1, width])

    if length == 1,
      do: {last, next},
      else:
        {Mlx.concatenate([last, Mlx.slice(x, [0, 0, 0], [batch, length - 1, width])], axis: 1), Mlx.contiguous(next)}
  end
end
