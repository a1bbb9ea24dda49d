defmodule Mlx.LM.Grammar.LogitMasks do
  @moduledoc false
  # Masks of tokens on the device: their words as an array, and logits without the tokens that may not come.

  alias Mlx.Array

  @doc "The masks of rows, of which nil lets all tokens be, as words `{rows, words}` for a vocabulary of so many tokens."
  @spec words([binary() | nil], pos_integer()) :: Array.t()
  def words(masks, vocabulary) do
    size = 4 * div(vocabulary + 31, 32)

    rows =
      for mask <- masks do
        case mask do
          nil -> :binary.copy(<<0xFF>>, size)
          mask when byte_size(mask) >= size -> binary_part(mask, 0, size)
          mask -> [mask, :binary.copy(<<0>>, size - byte_size(mask))]
        end
      end

    Mlx.from_binary(IO.iodata_to_binary(rows), {length(masks), div(size, 4)}, :u32)
  end

  @doc "The logits `{rows, vocabulary}`, of which those without a bit in the words are negative infinity."
  @spec apply(Array.t(), Array.t()) :: Array.t()
  def apply(%Array{shape: {rows, vocabulary}} = logits, %Array{shape: {rows, words}} = masks) do
    bits = masks |> Mlx.new_axis(2) |> Mlx.right_shift(Mlx.arange(32, type: :u32)) |> Mlx.bitwise_and(1)
    kept = bits |> Mlx.reshape({rows, 32 * words}) |> Mlx.slice([0, 0], [rows, vocabulary]) |> Mlx.as_type(:bool)
    Mlx.select(kept, logits, :neg_infinity)
  end
end
