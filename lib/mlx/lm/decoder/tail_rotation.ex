defmodule Mlx.LM.Decoder.TailRotation do
  @moduledoc false
  # A rotation of the last features of heads, of which an `Mlx.LM.Decoder.RoPE` takes the first ones.

  alias Mlx.Array
  alias Mlx.LM.Decoder.RoPE

  @doc "The rotated array, `{batch, heads, length, features}`, whose first position is `start`."
  @spec call(RoPE.t(), Array.t(), non_neg_integer() | Array.t()) :: Array.t()
  def call(%RoPE{dims: dims} = rope, %Array{shape: {_, _, _, dims}} = x, start), do: RoPE.call(rope, x, start)

  def call(%RoPE{dims: dims} = rope, %Array{shape: {_, _, _, size}} = x, start) do
    [kept, turned] = Mlx.split(x, [size - dims], axis: -1)
    Mlx.concatenate([kept, RoPE.call(rope, turned, start)], axis: -1)
  end
end
