defmodule Mlx.LM.Grammar.Bits do
  @moduledoc false
  # Sets of tokens as integers, of which the bit of a token is 1.

  import Bitwise

  @type t :: non_neg_integer()

  @doc "The set of these tokens."
  @spec new([non_neg_integer()]) :: t()
  def new(ids) when length(ids) < 16, do: Enum.reduce(ids, 0, fn id, bits -> bits ||| 1 <<< id end)

  def new(ids) do
    ids
    |> Enum.sort()
    |> bytes(0, 0, [])
    |> :binary.decode_unsigned(:little)
  end

  # The bytes up to the one with the last token: that which is at work, and its place.
  defp bytes([id | rest], place, byte, done) when id >>> 3 == place,
    do: bytes(rest, place, byte ||| 1 <<< (id &&& 7), done)

  defp bytes([id | _rest] = ids, place, byte, done) do
    gap = (id >>> 3) - place - 1
    bytes(ids, id >>> 3, 0, if(gap == 0, do: [byte | done], else: [:binary.copy(<<0>>, gap), byte | done]))
  end

  defp bytes([], _place, byte, done), do: [byte | done] |> Enum.reverse() |> IO.iodata_to_binary()

  @doc "The number of bytes of a set."
  @spec bytes(t()) :: pos_integer()
  def bytes(0), do: 1
  def bytes(bits), do: bits |> :binary.encode_unsigned() |> byte_size()

  @doc "The set as words of 32 bits, little-endian, for so many tokens at least."
  @spec words(t(), pos_integer()) :: binary()
  def words(bits, size) do
    bytes = :binary.encode_unsigned(bits, :little)
    bytes = if byte_size(bytes) > 4 * div(size + 31, 32), do: binary_part(bytes, 0, 4 * div(size + 31, 32)), else: bytes
    <<bytes::binary, 0::size(32 * div(size + 31, 32) - 8 * byte_size(bytes))>>
  end
end
