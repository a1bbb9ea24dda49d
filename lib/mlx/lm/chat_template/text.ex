defmodule Mlx.LM.ChatTemplate.Text do
  @moduledoc false
  # Strings as Python has them: sequences of code points, with Python's notion of white space and of case.

  import Bitwise

  alias Mlx.LM.ChatTemplate.Problem
  alias Mlx.LM.Tokenizer.CharacterClass

  @doc "Whether a character is white space."
  @spec space?(char) :: boolean
  def space?(char), do: char in 0x1C..0x1F or CharacterClass.of(char) == :space

  @doc "Whether a character can be in a name."
  @spec word?(char) :: boolean
  def word?(char), do: char == ?_ or CharacterClass.of(char) in [:letter, :number]

  @doc "`text` without what is in `chars`, or white space where that is `nil`, at its start."
  @spec strip_left(String.t(), String.t() | nil) :: String.t()
  def strip_left(text, chars \\ nil), do: drop_leading(text, stripped(chars))

  @doc "The same at its end."
  @spec strip_right(String.t(), String.t() | nil) :: String.t()
  def strip_right(text, chars \\ nil) do
    text |> kept(stripped(chars), 0, 0) |> then(&binary_part(text, 0, &1))
  end

  @doc "The same at both ends."
  @spec strip(String.t(), String.t() | nil) :: String.t()
  def strip(text, chars \\ nil), do: text |> strip_left(chars) |> strip_right(chars)

  defp stripped(nil), do: &space?/1

  defp stripped(chars) do
    set = chars |> String.to_charlist() |> MapSet.new()
    &(&1 in set)
  end

  defp drop_leading(<<char::utf8, rest::binary>> = text, drop?) do
    if drop?.(char), do: drop_leading(rest, drop?), else: text
  end

  defp drop_leading("", _drop?), do: ""

  defp kept(<<char::utf8, rest::binary>>, drop?, size, kept) do
    size = size + byte_size(<<char::utf8>>)
    kept(rest, drop?, size, if(drop?.(char), do: kept, else: size))
  end

  defp kept("", _drop?, _size, kept), do: kept

  @doc "The words between white space, at most `limit` splits from the left; -1 is no limit."
  @spec split(String.t(), integer) :: [String.t()]
  def split(text, limit \\ -1) do
    case strip_left(text) do
      "" -> []
      text when limit == 0 -> [text]
      text -> split_word(text, 0, limit)
    end
  end

  defp split_word(text, size, limit) do
    case text do
      <<word::binary-size(size)>> ->
        [word]

      <<word::binary-size(size), char::utf8, rest::binary>> ->
        if space?(char),
          do: [word | split(rest, limit - 1)],
          else: split_word(text, size + byte_size(<<char::utf8>>), limit)
    end
  end

  @doc "The parts between `separator`, with the same limit."
  @spec split_on(String.t(), String.t(), integer) :: [String.t()]
  def split_on(_text, "", _limit), do: Problem.fail("empty separator")
  def split_on(text, separator, limit), do: cut(text, 0, :binary.compile_pattern(separator), limit, 1)

  defp cut(text, from, pattern, limit, count) do
    case limit != 0 && :binary.match(text, pattern, scope: {from, byte_size(text) - from}) do
      {at, size} ->
        Problem.check_length(count)
        [binary_part(text, from, at - from) | cut(text, at + size, pattern, limit - 1, count + 1)]

      _none ->
        [binary_part(text, from, byte_size(text) - from)]
    end
  end

  @doc "The parts between `separator`, or white space where that is `nil`, with `limit` counted from the right."
  @spec split_right(String.t(), String.t() | nil, integer) :: [String.t()]
  def split_right(text, separator, limit) do
    {text, separator} = {backwards(text), separator && backwards(separator)}
    parts = if separator, do: split_on(text, separator, limit), else: split(text, limit)
    parts |> Enum.map(&backwards/1) |> Enum.reverse()
  end

  @doc "The lines, without their breaks."
  @spec lines(String.t()) :: [String.t()]
  def lines(""), do: []

  def lines(text) do
    lines = String.split(text, ["\r\n", "\n", "\r", "\v", "\f", "\x1C", "\x1D", "\x1E", "\u0085", "\u2028", "\u2029"])
    if List.last(lines) == "", do: Enum.drop(lines, -1), else: lines
  end

  @doc "The code points, each a string. A list takes many times the memory of its string, so this must be shorter."
  @spec points(String.t()) :: [String.t()]
  def points(text) do
    Problem.check_size(4 * byte_size(text))
    String.codepoints(text)
  end

  @doc "`count` code points from the one at `start` on."
  @spec part(String.t(), non_neg_integer, non_neg_integer) :: String.t()
  def part(text, start, count) do
    from = offset(text, start, 0)
    rest = binary_part(text, from, byte_size(text) - from)
    binary_part(rest, 0, offset(rest, count, 0))
  end

  # The bytes that the first `count` code points take.
  defp offset(_text, 0, size), do: size
  defp offset("", _count, size), do: size
  defp offset(<<char::utf8, rest::binary>>, count, size), do: offset(rest, count - 1, size + byte_size(<<char::utf8>>))

  @doc "The code points in the other order."
  @spec backwards(String.t()) :: String.t()
  def backwards(text), do: text |> points() |> Enum.reverse() |> IO.iodata_to_binary()

  @doc "The number of code points."
  @spec length(String.t()) :: non_neg_integer
  def length(text), do: count(text, 0)

  defp count(<<_char::utf8, rest::binary>>, count), do: count(rest, count + 1)
  defp count("", count), do: count

  @doc "Replaces the first `count` of `pattern`; -1 is all."
  @spec replace(String.t(), String.t(), String.t(), integer) :: String.t()
  def replace(text, _pattern, _replacement, 0), do: text

  def replace(text, "", replacement, count) do
    points = points(text)
    count = if count < 0, do: Kernel.length(points) + 1, else: min(count, Kernel.length(points) + 1)
    Problem.check_size(byte_size(text) + count * byte_size(replacement))
    {before, rest} = Enum.split(points, count)
    between = Enum.map(before, &[replacement, &1])
    last = if count > Kernel.length(points), do: replacement, else: ""
    IO.iodata_to_binary([between, last, rest])
  end

  def replace(text, pattern, replacement, count) do
    parts = split_on(text, pattern, count)
    Problem.check_size(byte_size(text) + (Kernel.length(parts) - 1) * byte_size(replacement))
    parts |> Enum.intersperse(replacement) |> IO.iodata_to_binary()
  end

  @doc "Upper case."
  @spec upper(String.t()) :: String.t()
  def upper(text), do: String.upcase(text)

  @doc "Lower case."
  @spec lower(String.t()) :: String.t()
  def lower(text), do: String.downcase(text, :greek)

  @doc "The first character in upper case and the others in lower case."
  @spec capitalize(String.t()) :: String.t()
  def capitalize(<<char::utf8, rest::binary>>), do: upper(<<char::utf8>>) <> lower(rest)
  def capitalize(""), do: ""

  @doc "Each run of letters capitalized, as Python's `str.title` does."
  @spec title(String.t()) :: String.t()
  def title(text) do
    text
    |> points()
    |> Enum.chunk_by(fn <<char::utf8>> -> CharacterClass.of(char) == :letter end)
    |> Enum.map_join(&(&1 |> IO.iodata_to_binary() |> capitalize()))
  end

  @doc "Each part between blanks, hyphens and opening brackets capitalized, as the filter `title` does."
  @spec title_words(String.t()) :: String.t()
  def title_words(text) do
    ~r/[-\s({\[<]+/u |> Regex.split(text, include_captures: true) |> Enum.map_join(&capitalize/1)
  end

  @doc "The string as Python's `repr` writes it."
  @spec repr(String.t()) :: String.t()
  def repr(text) do
    quote = if String.contains?(text, "'") and not String.contains?(text, "\""), do: ?", else: ?'
    body = for <<char::utf8 <- text>>, into: "", do: repr_char(char, quote)
    <<quote, body::binary, quote>>
  end

  defp repr_char(quote, quote), do: <<?\\, quote>>
  defp repr_char(?\\, _quote), do: "\\\\"
  defp repr_char(?\n, _quote), do: "\\n"
  defp repr_char(?\r, _quote), do: "\\r"
  defp repr_char(?\t, _quote), do: "\\t"
  defp repr_char(char, _quote) when char in 0x20..0x7E, do: <<char>>

  defp repr_char(char, _quote) do
    case :unicode_util.lookup(char).category do
      {kind, _} when kind in [:other, :separator] -> escape(char)
      _printable -> <<char::utf8>>
    end
  end

  defp escape(char) when char < 0x100, do: "\\x" <> hex(char, 2)
  defp escape(char) when char < 0x10000, do: "\\u" <> hex(char, 4)
  defp escape(char), do: "\\U" <> hex(char, 8)

  @doc "`number` in lower-case hexadecimal, with zeros in front up to `digits`."
  @spec hex(non_neg_integer, pos_integer) :: String.t()
  def hex(number, digits), do: number |> Integer.to_string(16) |> String.downcase() |> String.pad_leading(digits, "0")

  # Escapes of one character in a literal.
  @escapes %{?n => "\n", ?t => "\t", ?r => "\r", ?a => "\a", ?b => "\b", ?f => "\f", ?v => "\v"}

  @doc "What follows a backslash in a literal: its text and the bytes that it took, or `:error`."
  @spec unescape(String.t()) :: {:ok, String.t(), pos_integer} | :error
  def unescape(<<char, _rest::binary>>) when is_map_key(@escapes, char), do: {:ok, @escapes[char], 1}
  def unescape(<<char, _rest::binary>>) when char in [?\\, ?', ?"], do: {:ok, <<char>>, 1}
  def unescape(<<?\n, _rest::binary>>), do: {:ok, "", 1}
  def unescape(<<?x, digits::binary-size(2), _rest::binary>>), do: code_point(digits, 16, 3)
  def unescape(<<?u, digits::binary-size(4), _rest::binary>>), do: code_point(digits, 16, 5)
  def unescape(<<?U, digits::binary-size(8), _rest::binary>>), do: code_point(digits, 16, 9)
  def unescape(<<char, _rest::binary>>) when char in ~c"xuUN", do: :error

  def unescape(<<char, _rest::binary>> = text) when char in ?0..?7 do
    [digits] = Regex.run(~r/\A[0-7]{1,3}/, text)
    code_point(digits, 8, byte_size(digits))
  end

  def unescape(<<char::utf8, _rest::binary>>), do: {:ok, <<?\\, char::utf8>>, byte_size(<<char::utf8>>)}
  def unescape(""), do: :error

  defp code_point(digits, base, used) do
    case Integer.parse(digits, base) do
      {code, ""} when code in 0..0xD7FF or code in 0xE000..0x10FFFF -> {:ok, <<code::utf8>>, used}
      _other -> :error
    end
  end

  @doc "A finite float as Python's `repr` writes it."
  @spec float(float) :: String.t()
  def float(number) do
    <<sign::1, _rest::63>> = <<number::float>>
    {digits, exponent} = number |> abs() |> shortest()
    if(sign == 1, do: "-", else: "") <> layout(digits, exponent)
  end

  # The shortest digits that give the number, and the decimal exponent of the first.
  defp shortest(number) when number == 0, do: {"0", 0}

  defp shortest(number) do
    {mantissa, exponent} =
      case number |> :erlang.float_to_binary([:short]) |> String.split("e") do
        [mantissa] -> {mantissa, 0}
        [mantissa, exponent] -> {mantissa, String.to_integer(exponent)}
      end

    [whole, fraction] = String.split(mantissa, ".")
    all = whole <> fraction
    digits = String.trim_leading(all, "0")
    exponent = exponent + byte_size(whole) - 1 - (byte_size(all) - byte_size(digits))
    {digits |> String.trim_trailing("0") |> then(&if(&1 == "", do: "0", else: &1)), exponent}
  end

  defp layout(digits, exponent) when exponent < -4 or exponent >= 16 do
    sign = if exponent < 0, do: "-", else: "+"
    power = exponent |> abs() |> Integer.to_string() |> String.pad_leading(2, "0")

    case digits do
      <<first, rest::binary>> when rest != "" -> <<first, ".", rest::binary, "e", sign::binary, power::binary>>
      digits -> digits <> "e" <> sign <> power
    end
  end

  defp layout(digits, exponent) when exponent < 0, do: "0." <> String.duplicate("0", -exponent - 1) <> digits

  defp layout(digits, exponent) do
    case String.split_at(digits, exponent + 1) do
      {whole, ""} -> String.pad_trailing(whole, exponent + 1, "0") <> ".0"
      {whole, fraction} -> whole <> "." <> fraction
    end
  end

  @doc "The bits of an integer, for limits."
  @spec bits(integer) :: non_neg_integer
  def bits(number), do: number |> abs() |> :binary.encode_unsigned() |> byte_size() |> bsl(3)
end
