defmodule Mlx.LM.Tokenizer.Normalizer.Composition do
  @moduledoc false
  # Unicode's normal forms. Composing looks only at the characters that it can change, which most texts have few of.

  import Bitwise

  alias Mlx.LM.Tokenizer.{Aligned, Piece}
  alias Mlx.LM.Tokenizer.Normalizer.Recomposition

  # A character is settled when composition neither changes it nor joins it to what stands before.
  last = 0x2FFFF

  # Hangul vowels and final consonants join, too; what they make is more than all others together.
  joined =
    for code <- 0..last, code not in 0xD800..0xDFFF, code not in 0xAC00..0xD7A3, reduce: MapSet.new([]) do
      found ->
        class = :unicode_util.lookup(code).ccc

        found =
          if class != 0 or :unicode.characters_to_nfc_list([code]) != [code], do: MapSet.put(found, code), else: found

        case :unicode.characters_to_nfd_list([code]) do
          [^code] -> found
          [_first | rest] -> Enum.into(rest, found)
        end
    end

  joined = Enum.into(Enum.concat(0x1161..0x1175, 0x11A8..0x11C2), joined)

  pages =
    for page <- 0..(last >>> 8),
        do: for(low <- 0..255, into: <<>>, do: if((page <<< 8 ||| low) in joined, do: <<1>>, else: <<0>>))

  distinct = Enum.uniq(pages)
  numbers = distinct |> Enum.with_index() |> Map.new()
  true = length(distinct) <= 256

  @last last
  @index for page <- pages, into: <<>>, do: <<Map.fetch!(numbers, page)>>
  @pages IO.iodata_to_binary(distinct)

  @doc "The text in a normal form."
  @spec apply(piece, :nfc | :nfd | :nfkc | :nfkd) :: piece when piece: Piece.t()
  def apply(%Aligned{text: text} = aligned, form) do
    case composed(text, form) do
      ^text -> aligned
      _other -> Aligned.changed(aligned, Recomposition.changes(text, form))
    end
  end

  def apply(text, form), do: composed(text, form)

  defp composed(text, :nfc), do: compose(text, text, 0, 0, 0, [])
  defp composed(text, :nfd), do: if(ascii?(text), do: text, else: :unicode.characters_to_nfd_binary(text))
  defp composed(text, :nfkc), do: if(ascii?(text), do: text, else: :unicode.characters_to_nfkc_binary(text))
  defp composed(text, :nfkd), do: if(ascii?(text), do: text, else: :unicode.characters_to_nfkd_binary(text))

  @doc "Whether a character is white space."
  @spec white?(char) :: boolean
  def white?(code) when code in 0x09..0x0D or code == 0x20, do: true
  def white?(code) when code < 0x85, do: false

  def white?(code) when code in [0x85, 0xA0, 0x1680, 0x2028, 0x2029, 0x202F, 0x205F, 0x3000] or code in 0x2000..0x200A,
    do: true

  def white?(_code), do: false

  defp ascii?(<<byte, rest::binary>>) when byte < 128, do: ascii?(rest)
  defp ascii?(rest), do: rest == ""

  # `from` is where what is not yet written begins, `previous` the place of the last settled character, `at` that of `rest`.
  defp compose(<<code, rest::binary>>, text, from, _previous, at, done) when code < 0x80,
    do: compose(rest, text, from, at, at + 1, done)

  defp compose(<<code::utf8, rest::binary>>, text, from, previous, at, done) do
    if settled?(code) do
      compose(rest, text, from, at, at + size(code), done)
    else
      to = unsettled(rest, at + size(code))
      composed = text |> binary_part(previous, to - previous) |> :unicode.characters_to_nfc_binary()
      <<_before::binary-size(to), rest::binary>> = text
      compose(rest, text, to, to, to, [done, binary_part(text, from, previous - from), composed])
    end
  end

  defp compose(<<>>, text, 0, _previous, _at, _done), do: text

  defp compose(<<>>, text, from, _previous, at, done),
    do: IO.iodata_to_binary([done, binary_part(text, from, at - from)])

  # Where the run of characters that are not settled ends.
  defp unsettled(<<code::utf8, rest::binary>>, at) when code >= 0x80,
    do: if(settled?(code), do: at, else: unsettled(rest, at + size(code)))

  defp unsettled(_rest, at), do: at

  defp settled?(code) when code < 0x300 or code > @last, do: true
  defp settled?(code), do: :binary.at(@pages, :binary.at(@index, code >>> 8) <<< 8 ||| (code &&& 255)) == 0

  defp size(code) when code < 0x800, do: 2
  defp size(code) when code < 0x10000, do: 3
  defp size(_code), do: 4
end
