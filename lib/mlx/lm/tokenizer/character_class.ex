defmodule Mlx.LM.Tokenizer.CharacterClass do
  @moduledoc false
  # The four classes of characters that pre-tokenizers tell apart: `:letter` (Unicode categories L*), `:number` (N*),
  # `:space` (White_Space) and `:other`.
  #
  # The classes are at least those of Unicode 16, whichever version the Erlang in use knows.

  import Bitwise

  alias Mlx.LM.Tokenizer.CharacterCategory

  @type t :: :letter | :number | :space | :other

  @spaces [0x09..0x0D, 0x20..0x20, 0x85..0x85, 0xA0..0xA0, 0x1680..0x1680, 0x2000..0x200A] ++
            [0x2028..0x2029, 0x202F..0x202F, 0x205F..0x205F, 0x3000..0x3000]

  @classes {:other, :letter, :number, :space}

  # A byte a code point, in pages of 256: `@index` names the page of a code point, and pages that are alike are one. They are made
  # of the pages of categories.
  {index, categories} = CharacterCategory.tables()

  class = fn number ->
    cond do
      (CharacterCategory.mask("L") >>> number &&& 1) == 1 -> 1
      (CharacterCategory.mask("N") >>> number &&& 1) == 1 -> 2
      true -> 0
    end
  end

  classes = Map.new(0..29, &{&1, class.(&1)})
  plain = for <<number <- categories>>, into: <<>>, do: <<Map.fetch!(classes, number)>>

  spaces =
    for range <- @spaces, code <- range, reduce: %{} do
      spaces -> Map.update(spaces, code >>> 8, [code &&& 255], &[code &&& 255 | &1])
    end

  pages =
    for {number, page} <- Enum.with_index(for <<number::16 <- index>>, do: number) do
      for at <- Map.get(spaces, page, []), reduce: binary_part(plain, number <<< 8, 256) do
        <<before::binary-size(at), _class, rest::binary>> -> <<before::binary, 3, rest::binary>>
      end
    end

  distinct = Enum.uniq(pages)
  numbers = distinct |> Enum.with_index() |> Map.new()
  true = length(distinct) <= 256

  @index for page <- pages, into: <<>>, do: <<Map.fetch!(numbers, page)>>
  @pages IO.iodata_to_binary(distinct)
  @ascii binary_part(hd(pages), 0, 128) |> :binary.bin_to_list() |> Enum.map(&elem(@classes, &1)) |> List.to_tuple()

  @doc """
  The class of a code point.

      iex> Enum.map(~c"é٣ !", &Mlx.LM.Tokenizer.CharacterClass.of/1)
      [:letter, :number, :space, :other]
  """
  @spec of(char) :: t
  def of(code) when code < 128, do: elem(@ascii, code)
  def of(code), do: elem(@classes, :binary.at(@pages, :binary.at(@index, code >>> 8) <<< 8 ||| (code &&& 255)))
end
