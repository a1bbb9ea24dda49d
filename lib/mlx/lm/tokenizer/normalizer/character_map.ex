defmodule Mlx.LM.Tokenizer.Normalizer.CharacterMap do
  @moduledoc false
  # The map of characters of SentencePiece: a trie in a double array, whose values are places in a block of strings that
  # end with a zero byte.
  #
  # A cluster of characters of less than six bytes is looked up as a whole, and then each character. The shortest entry
  # that the looked up text begins with is taken, as the reference does.

  import Bitwise

  alias Mlx.LM.Tokenizer.Aligned

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
  def apply(map, text), do: for({_old, new} <- clusters(text, map), into: "", do: new)

  @doc "The characters of the mapped text, each with what it stands for."
  @spec changes(t, String.t()) :: [Aligned.change()]
  def changes(map, text), do: text |> clusters(map) |> Enum.reduce([], &changes_of/2) |> Enum.reverse()

  # The last of the new characters stands for what they are fewer by, also where it came before.
  defp changes_of({old, new}, changes) do
    {old, new} = {String.to_charlist(old), String.to_charlist(new)}
    more = length(new) - length(old)
    {same, added} = Enum.split(new, length(new) - max(more, 0))
    changes = Enum.reduce(added, Enum.reduce(same, changes, &[{&1, 0} | &2]), &[{&1, 1} | &2])

    case changes do
      [{code, change} | before] when more < 0 -> [{code, change + more} | before]
      changes -> changes
    end
  end

  # The text in pieces, each with what it becomes.
  defp clusters(text, map), do: clusters(text, map, [])

  defp clusters("", _map, pieces), do: Enum.reverse(pieces)

  # Characters of ASCII are clusters by themselves, but for line breaks.
  defp clusters(<<code, next, rest::binary>>, map, pieces) when code < 128 and next < 128 and code != ?\r,
    do: clusters(<<next, rest::binary>>, map, [character(map, <<code>>) | pieces])

  defp clusters(text, map, pieces) do
    {cluster, rest} = String.next_grapheme(text)
    clusters(rest, map, cluster(map, cluster, pieces))
  end

  defp cluster(map, cluster, pieces) do
    with true <- byte_size(cluster) < 6, content when content != nil <- find(map, cluster) do
      [{cluster, content} | pieces]
    else
      _none -> for(<<code::utf8 <- cluster>>, reduce: pieces, do: (pieces -> [character(map, <<code::utf8>>) | pieces]))
    end
  end

  defp character(map, character), do: {character, find(map, character) || character}

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
