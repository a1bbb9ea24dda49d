defmodule Mlx.LM.Tokenizer.CharacterClass do
  @moduledoc false
  # The four classes of characters that pre-tokenizers tell apart: `:letter` (Unicode categories L*), `:number` (N*),
  # `:space` (White_Space) and `:other`. Some tell letters of two cases and marks (M*) apart, too: `kind/1`.
  #
  # The classes are at least those of Unicode 16, whichever version the Erlang in use knows.

  import Bitwise

  alias Mlx.LM.Tokenizer.CharacterCategory

  @type t :: :letter | :number | :space | :other

  @typedoc "Letters are those of upper case, of lower case, and without case."
  @type kind :: :upper | :lower | :caseless | :mark | :number | :space | :other

  @spaces [0x09..0x0D, 0x20..0x20, 0x85..0x85, 0xA0..0xA0, 0x1680..0x1680, 0x2000..0x200A] ++
            [0x2028..0x2029, 0x202F..0x202F, 0x205F..0x205F, 0x3000..0x3000]

  # By the numbers in the table. Letters of title case count as those of upper case, and modifiers have no case.
  @kinds {:other, :upper, :lower, :caseless, :mark, :number, :space}
  @classes {:other, :letter, :letter, :letter, :other, :number, :space}
  @numbers [{"Lu", 1}, {"Lt", 1}, {"Ll", 2}, {"Lm", 3}, {"Lo", 3}, {"M", 4}, {"N", 5}]
  @space 6

  # A byte a code point, in pages of 256: `@index` names the page of a code point, and pages that are alike are one. They are made
  # of the pages of categories.
  {index, categories} = CharacterCategory.tables()

  class = fn category ->
    Enum.find_value(@numbers, 0, fn {name, number} ->
      if (CharacterCategory.mask(name) >>> category &&& 1) == 1, do: number
    end)
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
        <<before::binary-size(at), _class, rest::binary>> -> <<before::binary, @space, rest::binary>>
      end
    end

  distinct = Enum.uniq(pages)
  numbers = distinct |> Enum.with_index() |> Map.new()
  true = length(distinct) <= 256

  @index for page <- pages, into: <<>>, do: <<Map.fetch!(numbers, page)>>
  @pages IO.iodata_to_binary(distinct)
  ascii = hd(pages) |> binary_part(0, 128) |> :binary.bin_to_list()
  @ascii ascii |> Enum.map(&elem(@classes, &1)) |> List.to_tuple()
  @ascii_kinds ascii |> Enum.map(&elem(@kinds, &1)) |> List.to_tuple()

  @doc """
  The class of a code point.

      iex> Enum.map(~c"é٣ !", &Mlx.LM.Tokenizer.CharacterClass.of/1)
      [:letter, :number, :space, :other]
  """
  @spec of(char) :: t
  def of(code) when code < 128, do: elem(@ascii, code)
  def of(code), do: elem(@classes, number(code))

  @doc """
  The class of a code point, with letters of two cases and marks apart.

      iex> Enum.map(~c"éÉ中\\u0301٣ !", &Mlx.LM.Tokenizer.CharacterClass.kind/1)
      [:lower, :upper, :caseless, :mark, :number, :space, :other]
  """
  @spec kind(char) :: kind
  def kind(code) when code < 128, do: elem(@ascii_kinds, code)
  def kind(code), do: elem(@kinds, number(code))

  defp number(code), do: :binary.at(@pages, :binary.at(@index, code >>> 8) <<< 8 ||| (code &&& 255))
end
