defmodule Mlx.LM.Tokenizer.CharacterClass do
  @moduledoc false
  # The four classes of characters that pre-tokenizers tell apart: `:letter` (Unicode categories L*), `:number` (N*),
  # `:space` (White_Space) and `:other`.
  #
  # The classes are at least those of Unicode 16, whichever version the Erlang in use knows.

  import Bitwise

  @type t :: :letter | :number | :space | :other

  @spaces [0x09..0x0D, 0x20..0x20, 0x85..0x85, 0xA0..0xA0, 0x1680..0x1680, 0x2000..0x200A] ++
            [0x2028..0x2029, 0x202F..0x202F, 0x205F..0x205F, 0x3000..0x3000]

  # Assigned after Unicode 15.0, which is what Erlang/OTP 26 and 27 know.
  @new_letters [0x1C89..0x1C8A, 0xA7CB..0xA7CD, 0xA7DA..0xA7DC, 0x105C0..0x105F3, 0x10D4A..0x10D65] ++
                 [0x10D6F..0x10D85, 0x10EC2..0x10EC4, 0x11380..0x11389, 0x1138B..0x1138B, 0x1138E..0x1138E] ++
                 [0x11390..0x113B5, 0x113B7..0x113B7, 0x113D1..0x113D1, 0x113D3..0x113D3, 0x11BC0..0x11BE0] ++
                 [0x13460..0x143FA, 0x16100..0x1611D, 0x16D40..0x16D6C, 0x18CFF..0x18CFF, 0x1E5D0..0x1E5ED] ++
                 [0x1E5F0..0x1E5F0, 0x2EBF0..0x2EE5D]
  @new_numbers [0x10D40..0x10D49, 0x116D0..0x116E3, 0x11BF0..0x11BF9, 0x16130..0x16139, 0x16D70..0x16D79] ++
                 [0x1CCF0..0x1CCF9, 0x1E5F1..0x1E5FA]

  @classes {:other, :letter, :number, :space}

  # A byte a code point, in pages of 256: `@index` names the page of a code point, and pages that are alike are one.
  overrides =
    for {ranges, class} <- [{@new_letters, 1}, {@new_numbers, 2}, {@spaces, 3}],
        range <- ranges,
        code <- range,
        into: %{} do
      {code, class}
    end

  class = fn
    surrogate when surrogate in 0xD800..0xDFFF ->
      0

    code ->
      case overrides do
        %{^code => class} ->
          class

        _other ->
          case :unicode_util.lookup(code).category do
            {:letter, _kind} -> 1
            {:number, _kind} -> 2
            _other -> 0
          end
      end
  end

  pages = for page <- 0..0x10FF, do: for(code <- (page <<< 8)..((page <<< 8) + 255), into: <<>>, do: <<class.(code)>>)
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
