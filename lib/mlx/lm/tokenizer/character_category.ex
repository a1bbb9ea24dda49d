defmodule Mlx.LM.Tokenizer.CharacterCategory do
  @moduledoc false
  # The general category of every character, as Unicode 16 has it, whichever version the Erlang in use knows.

  import Bitwise

  @names ~w(Lu Ll Lt Lm Lo Mn Mc Me Nd Nl No Pc Pd Ps Pe Pi Pf Po Sm Sc Sk So Zs Zl Zp Cc Cf Cs Co Cn)
  @numbers @names |> Enum.with_index() |> Map.new()

  @erlang %{
    {:letter, :uppercase} => "Lu",
    {:letter, :lowercase} => "Ll",
    {:letter, :titlecase} => "Lt",
    {:letter, :modifier} => "Lm",
    {:letter, :other} => "Lo",
    {:mark, :non_spacing} => "Mn",
    {:mark, :spacing_combining} => "Mc",
    {:mark, :enclosing} => "Me",
    {:number, :decimal} => "Nd",
    {:number, :letter} => "Nl",
    {:number, :other} => "No",
    {:punctuation, :connector} => "Pc",
    {:punctuation, :dash} => "Pd",
    {:punctuation, :open} => "Ps",
    {:punctuation, :close} => "Pe",
    {:punctuation, :initial} => "Pi",
    {:punctuation, :final} => "Pf",
    {:punctuation, :other} => "Po",
    {:symbol, :math} => "Sm",
    {:symbol, :currency} => "Sc",
    {:symbol, :modifier} => "Sk",
    {:symbol, :other} => "So",
    {:separator, :space} => "Zs",
    {:separator, :line} => "Zl",
    {:separator, :paragraph} => "Zp",
    {:other, :control} => "Cc",
    {:other, :format} => "Cf",
    {:other, :surrogate} => "Cs",
    {:other, :private} => "Co",
    {:other, :not_assigned} => "Cn"
  }

  # What Unicode 15.1 and 16 added or changed.
  @newer [
    {"Lu", [0x1C89..0x1C89, 0xA7CB..0xA7CC, 0xA7DA..0xA7DA, 0xA7DC..0xA7DC, 0x10D50..0x10D65]},
    {"Ll", [0x1C8A..0x1C8A, 0xA7CD..0xA7CD, 0xA7DB..0xA7DB, 0x10D70..0x10D85]},
    {"Lm", [0x10D4E..0x10D4E, 0x10D6F..0x10D6F, 0x16D40..0x16D42, 0x16D6B..0x16D6C]},
    {"Lo",
     [0x105C0..0x105F3, 0x10D4A..0x10D4D, 0x10D4F..0x10D4F, 0x10EC2..0x10EC4, 0x11380..0x11389, 0x1138B..0x1138B] ++
       [0x1138E..0x1138E, 0x11390..0x113B5, 0x113B7..0x113B7, 0x113D1..0x113D1, 0x113D3..0x113D3, 0x11BC0..0x11BE0] ++
       [0x13460..0x143FA, 0x16100..0x1611D, 0x16D43..0x16D6A, 0x18CFF..0x18CFF, 0x1E5D0..0x1E5ED, 0x1E5F0..0x1E5F0] ++
       [0x2EBF0..0x2EE5D]},
    {"Mn",
     [0x897..0x897, 0x10D69..0x10D6D, 0x10EFC..0x10EFC, 0x113BB..0x113C0, 0x113CE..0x113CE, 0x113D0..0x113D0] ++
       [0x113D2..0x113D2, 0x113E1..0x113E2, 0x11F5A..0x11F5A, 0x1611E..0x16129, 0x1612D..0x1612F, 0x1E5EE..0x1E5EF]},
    {"Mc",
     [0x113B8..0x113BA, 0x113C2..0x113C2, 0x113C5..0x113C5, 0x113C7..0x113CA, 0x113CC..0x113CD, 0x113CF..0x113CF] ++
       [0x1171E..0x1171E, 0x1612A..0x1612C]},
    {"Nd",
     [0x10D40..0x10D49, 0x116D0..0x116E3, 0x11BF0..0x11BF9, 0x16130..0x16139, 0x16D70..0x16D79, 0x1CCF0..0x1CCF9] ++
       [0x1E5F1..0x1E5FA]},
    {"Pd", [0x10D6E..0x10D6E]},
    {"Po",
     [0x1B4E..0x1B4F, 0x1B7F..0x1B7F, 0x113D4..0x113D5, 0x113D7..0x113D8, 0x11BE1..0x11BE1, 0x16D6D..0x16D6F] ++
       [0x1E5FF..0x1E5FF]},
    {"Sm", [0x10D8E..0x10D8F]},
    {"So",
     [0x2427..0x2429, 0x2FFC..0x2FFF, 0x31E4..0x31E5, 0x31EF..0x31EF, 0x1CC00..0x1CCEF, 0x1CD00..0x1CEB3] ++
       [0x1F8B2..0x1F8BB, 0x1F8C0..0x1F8C1, 0x1FA89..0x1FA89, 0x1FA8F..0x1FA8F, 0x1FABE..0x1FABE] ++
       [0x1FAC6..0x1FAC6, 0x1FADC..0x1FADC, 0x1FADF..0x1FADF, 0x1FAE9..0x1FAE9, 0x1FBCB..0x1FBEF]}
  ]

  # An attribute is copied each time that it is read here.
  {number_of, erlang} = {@numbers, @erlang}

  newer = for {name, ranges} <- @newer, range <- ranges, code <- range, into: %{}, do: {code, number_of[name]}

  category = fn code ->
    case newer do
      %{^code => number} -> number
      _other -> number_of[erlang[:unicode_util.lookup(code).category]]
    end
  end

  # A byte a code point, in pages of 256: `@index` names the page of a code point, and pages that are alike are one. Most pages are
  # known as a whole: surrogates, planes without a character, and planes for private use, whose last two code points are no characters.
  same = fn name -> :binary.copy(<<@numbers[name]>>, 256) end
  surrogates = same.("Cs")
  unassigned = same.("Cn")
  private = same.("Co")
  last_private = binary_part(private, 0, 254) <> binary_part(unassigned, 0, 2)

  pages =
    for page <- 0..0x10FF do
      cond do
        page in 0xD8..0xDF -> surrogates
        page in 0x400..0xDFF -> unassigned
        page in [0xFFF, 0x10FF] -> last_private
        page in 0xF00..0x10FF -> private
        true -> for code <- (page <<< 8)..((page <<< 8) + 255), into: <<>>, do: <<category.(code)>>
      end
    end

  distinct = Enum.uniq(pages)
  numbers = distinct |> Enum.with_index() |> Map.new()

  @index for page <- pages, into: <<>>, do: <<Map.fetch!(numbers, page)::16>>
  @pages IO.iodata_to_binary(distinct)

  @doc "The number of a code point's category; `number/1` gives it for a name."
  @spec of(char) :: 0..29
  def of(code) do
    page = (code >>> 8) * 2
    number = :binary.at(@index, page) <<< 8 ||| :binary.at(@index, page + 1)
    :binary.at(@pages, number <<< 8 ||| (code &&& 255))
  end

  @doc """
  For a table of one's own: the index, two bytes for each page of 256 code points, which are the number of the page among the
  pages that are different, and these pages, of a number of a category for each code point.
  """
  @spec tables() :: {binary, binary}
  def tables, do: {@index, @pages}

  @doc """
  The bits of the categories of a name, one category such as `Lu` or a group of them such as `L`; `nil` for an unknown one.
  """
  @spec mask(String.t()) :: non_neg_integer | nil
  for {name, number} <- @numbers, do: def(mask(unquote(name)), do: unquote(1 <<< number))

  for group <- ~w(L M N P S Z C) do
    bits =
      for {name, number} <- @numbers, String.starts_with?(name, group), reduce: 0, do: (bits -> bits ||| 1 <<< number)

    def mask(unquote(group)), do: unquote(bits)
  end

  def mask("LC"), do: mask("Lu") ||| mask("Ll") ||| mask("Lt")
  def mask(_name), do: nil

  @doc "Whether a code point is in one of the categories of `mask/1`'s bits."
  @spec in?(char, non_neg_integer) :: boolean
  def in?(code, bits), do: (bits >>> of(code) &&& 1) == 1
end
