defmodule Mlx.LM.Tokenizer.Normalizer.CharacterMap do
  @moduledoc false
  # The map of characters of SentencePiece: a trie in a double array, whose values are places in a block of strings that
  # end with a zero byte.
  #
  # A cluster of characters of less than six bytes is looked up as a whole, and then each character. The shortest entry
  # that the looked up text begins with is taken, as the reference does.

  import Bitwise

  @enforce_keys [:units, :strings]
  defstruct @enforce_keys

  @type t :: %__MODULE__{units: binary, strings: binary}

  @doc "A map from its bytes: the size of the array, its units of 32 bits, and the strings."
  @spec new(binary) :: {:ok, t} | :error
  def new(<<size::32-little, units::binary-size(size), strings::binary>>) when size > 0 and rem(size, 4) == 0 do
    {:ok, %__MODULE__{units: units, strings: strings}}
  end

  def new(_bytes), do: :error

  @doc "The mapped text."
  @spec apply(t, String.t()) :: String.t()
  def apply(map, text), do: for(cluster <- String.graphemes(text), into: "", do: cluster(map, cluster))

  defp cluster(map, cluster) do
    with true <- byte_size(cluster) < 6, content when content != nil <- find(map, cluster) do
      content
    else
      _none -> for <<code::utf8 <- cluster>>, into: "", do: find(map, <<code::utf8>>) || <<code::utf8>>
    end
  end

  # A unit has a label in its low byte, an offset to its children, and whether a value is among them.
  defp find(map, text), do: walk(map, text, offset(unit(map, 0)))

  defp walk(_map, <<>>, _at), do: nil

  defp walk(map, <<byte, rest::binary>>, at) do
    at = bxor(at, byte)
    unit = unit(map, at)

    cond do
      byte == 0 or (unit &&& 0x800000FF) != byte -> nil
      (unit >>> 8 &&& 1) == 1 -> string(map, unit(map, bxor(at, offset(unit))) &&& 0x7FFFFFFF)
      true -> walk(map, rest, bxor(at, offset(unit)))
    end
  end

  # No unit outside of the array has a byte for a label.
  defp unit(%{units: units}, at) when at * 4 < byte_size(units),
    do: units |> binary_part(at * 4, 4) |> :binary.decode_unsigned(:little)

  defp unit(_map, _at), do: 0xFFFFFFFF

  defp offset(unit), do: (unit >>> 10) <<< ((unit &&& 0x200) >>> 6)

  defp string(%{strings: strings}, at) when at < byte_size(strings) do
    rest = binary_part(strings, at, byte_size(strings) - at)
    rest |> :binary.split(<<0>>) |> hd() |> String.replace_invalid()
  end

  defp string(_map, _at), do: nil
end
