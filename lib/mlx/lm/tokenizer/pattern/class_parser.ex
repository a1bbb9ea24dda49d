defmodule Mlx.LM.Tokenizer.Pattern.ClassParser do
  @moduledoc false
  # Reads what stands for a set of characters in a regular expression: escapes such as `\p{Lu}`, and classes in brackets.

  alias Mlx.LM.Tokenizer.{CharacterCategory, Scripts}
  alias Mlx.LM.Tokenizer.Pattern.{CharacterSet, Parser}

  @controls %{?n => ?\n, ?t => ?\t, ?r => ?\r, ?f => ?\f, ?v => ?\v, ?a => ?\a, ?e => ?\e}
  @hexadecimal {:any, [{:range, ?0, ?9}, {:range, ?a, ?f}, {:range, ?A, ?F}]}
  @deepest 100

  @long_names %{
    "letter" => "L",
    "uppercaseletter" => "Lu",
    "lowercaseletter" => "Ll",
    "titlecaseletter" => "Lt",
    "casedletter" => "LC",
    "modifierletter" => "Lm",
    "otherletter" => "Lo",
    "mark" => "M",
    "nonspacingmark" => "Mn",
    "spacingmark" => "Mc",
    "enclosingmark" => "Me",
    "number" => "N",
    "decimalnumber" => "Nd",
    "digit" => "Nd",
    "letternumber" => "Nl",
    "othernumber" => "No",
    "punctuation" => "P",
    "connectorpunctuation" => "Pc",
    "dashpunctuation" => "Pd",
    "openpunctuation" => "Ps",
    "closepunctuation" => "Pe",
    "initialpunctuation" => "Pi",
    "finalpunctuation" => "Pf",
    "otherpunctuation" => "Po",
    "symbol" => "S",
    "mathsymbol" => "Sm",
    "currencysymbol" => "Sc",
    "modifiersymbol" => "Sk",
    "othersymbol" => "So",
    "separator" => "Z",
    "spaceseparator" => "Zs",
    "lineseparator" => "Zl",
    "paragraphseparator" => "Zp",
    "other" => "C",
    "control" => "Cc",
    "cntrl" => "Cc",
    "format" => "Cf",
    "surrogate" => "Cs",
    "privateuse" => "Co",
    "unassigned" => "Cn"
  }

  @doc "The definition of what stands behind a backslash, and the rest."
  @spec escape(String.t()) :: {CharacterSet.definition(), String.t()}
  def escape("s" <> rest), do: {CharacterSet.space(), rest}
  def escape("S" <> rest), do: {{:not, CharacterSet.space()}, rest}
  def escape("w" <> rest), do: {CharacterSet.word(:alone), rest}
  def escape("W" <> rest), do: {{:not, CharacterSet.word(:alone)}, rest}
  def escape("d" <> rest), do: {CharacterSet.digit(), rest}
  def escape("D" <> rest), do: {{:not, CharacterSet.digit()}, rest}
  def escape("h" <> rest), do: {@hexadecimal, rest}
  def escape("H" <> rest), do: {{:not, @hexadecimal}, rest}
  def escape("N" <> rest), do: {{:not, {:range, ?\n, ?\n}}, rest}
  def escape("O" <> rest), do: {{:range, 0, 0x10FFFF}, rest}
  def escape("p{^" <> rest), do: property(rest, true)
  def escape("P{^" <> rest), do: property(rest, false)
  def escape("p{" <> rest), do: property(rest, false)
  def escape("P{" <> rest), do: property(rest, true)
  def escape(""), do: Parser.wrong("it ends with a backslash")

  def escape(source) do
    {code, rest} = character(source)
    {{:range, code, code}, rest}
  end

  # A character behind a backslash.
  defp character("x{" <> rest) do
    case Regex.run(~r/\A([0-9A-Fa-f]{1,8})\}/, rest) do
      [all, digits] -> {code!(digits), behind(rest, all)}
      nil -> Parser.wrong("\\x{ has no hexadecimal number and } behind it")
    end
  end

  defp character("x" <> rest) do
    [digits] = Regex.run(~r/\A[0-9A-Fa-f]{0,2}/, rest)
    code = code!("0" <> digits)
    if code > 127, do: Parser.wrong("\\x#{digits} is no character; \\x{#{digits}} is one")
    {code, behind(rest, digits)}
  end

  defp character("u" <> rest) do
    case Regex.run(~r/\A[0-9A-Fa-f]{4}/, rest) do
      [digits] -> {code!(digits), behind(rest, digits)}
      nil -> Parser.wrong("\\u needs four hexadecimal digits")
    end
  end

  defp character(<<digit, rest::binary>>) when digit in ?0..?7 do
    [more] = Regex.run(~r/\A[0-7]{0,2}/, rest)
    if digit != ?0, do: Parser.wrong("\\#{<<digit>>} refers to a group, which is not supported")
    {String.to_integer("0" <> more, 8), behind(rest, more)}
  end

  defp character(<<letter, rest::binary>>) when is_map_key(@controls, letter), do: {@controls[letter], rest}

  defp character(<<letter, _rest::binary>>) when letter in ?a..?z or letter in ?A..?Z or letter in ?8..?9 do
    Parser.wrong("\\#{<<letter>>} is not supported")
  end

  defp character(<<code::utf8, rest::binary>>), do: {code, rest}

  defp code!(digits) do
    case String.to_integer(digits, 16) do
      code when code in 0..0xD7FF or code in 0xE000..0x10FFFF -> code
      _none -> Parser.wrong("#{digits} is no character")
    end
  end

  defp behind(text, part), do: binary_part(text, byte_size(part), byte_size(text) - byte_size(part))

  defp property(source, negative) do
    case :binary.split(source, "}") do
      [name, rest] -> {negate(named(name), negative), rest}
      [_name] -> Parser.wrong("\\p{ has no }")
    end
  end

  defp negate(definition, true), do: {:not, definition}
  defp negate(definition, false), do: definition

  defp named(name) do
    plain = name |> String.replace(~r/[\s_-]/, "") |> String.downcase()

    cond do
      mask = CharacterCategory.mask(String.capitalize(plain)) -> {:categories, mask}
      plain == "lc" -> CharacterSet.categories("LC")
      long = @long_names[plain] -> CharacterSet.categories(long)
      posix = posix(plain) -> posix
      script = Scripts.find(plain) -> {:script, script}
      plain in ["any", "assigned"] -> {:not, if(plain == "any", do: {:any, []}, else: CharacterSet.categories("Cn"))}
      true -> Parser.wrong("\\p{#{name}} is not a known category or script")
    end
  end

  defp posix("space"), do: CharacterSet.space()
  defp posix("word"), do: CharacterSet.word(:in_brackets)
  defp posix("xdigit"), do: @hexadecimal
  defp posix("punct"), do: CharacterSet.categories("P")
  defp posix("blank"), do: {:any, [CharacterSet.categories("Zs"), {:range, ?\t, ?\t}]}
  defp posix("ascii"), do: {:range, 0, 127}
  defp posix(_name), do: nil

  @doc "The definition of a class, which begins behind its `[`, and the rest."
  @spec parse(String.t(), map) :: {CharacterSet.definition(), String.t()}
  def parse(source, _flags), do: class(source, 0)

  defp class(_source, depth) when depth > @deepest, do: Parser.wrong("its classes are more than #{@deepest} deep")

  defp class("^" <> rest, depth) do
    {definition, rest} = members(rest, depth, [], [], true)
    {{:not, definition}, rest}
  end

  defp class(rest, depth), do: members(rest, depth, [], [], true)

  # Members up to the closing bracket; `cuts` are the parts before `&&`. A `]` that comes first is a member.
  defp members("]" <> rest, _depth, members, cuts, false) do
    {Enum.reduce(cuts, {:any, members}, &{:all, [&1, &2]}), rest}
  end

  defp members("&&" <> rest, depth, members, cuts, _first),
    do: members(rest, depth, [], [{:any, members} | cuts], false)

  defp members("[:" <> rest = source, depth, members, cuts, _first) do
    case Regex.run(~r/\A(\^?)([a-z]+):\]/, rest) do
      [all, negative, name] ->
        members(behind(rest, all), depth, [negate(bracket(name), negative != "") | members], cuts, false)

      nil ->
        nested(source, depth, members, cuts)
    end
  end

  defp members("[" <> _rest = source, depth, members, cuts, _first), do: nested(source, depth, members, cuts)
  defp members("", _depth, _members, _cuts, _first), do: Parser.wrong("a [ has no ]")

  defp members(source, depth, members, cuts, _first) do
    {member, rest} = member(source)
    {member, rest} = range(member, rest)
    members(rest, depth, [member | members], cuts, false)
  end

  defp nested("[" <> rest, depth, members, cuts) do
    {definition, rest} = class(rest, depth + 1)
    members(rest, depth, [definition | members], cuts, false)
  end

  defp bracket(name) when name in ["digit", "cntrl"], do: named(name)
  defp bracket("punct"), do: {:any, [CharacterSet.categories("P"), CharacterSet.categories("S")]}
  defp bracket(name), do: posix(name) || Parser.wrong("[:#{name}:] is not supported")

  defp member("\\w" <> rest), do: {CharacterSet.word(:in_brackets), rest}
  defp member("\\W" <> rest), do: {{:not, CharacterSet.word(:in_brackets)}, rest}
  defp member("\\b" <> rest), do: {{:range, ?\b, ?\b}, rest}
  defp member("\\" <> rest), do: escape(rest)
  defp member(<<code::utf8, rest::binary>>), do: {{:range, code, code}, rest}

  # A hyphen between two characters makes a range; anywhere else it is itself.
  defp range({:range, from, from}, "-" <> rest) when rest != "" and binary_part(rest, 0, 1) not in ["]", "["] do
    case member(rest) do
      {{:range, to, to}, rest} when to >= from -> {{:range, from, to}, rest}
      {{:range, to, to}, _rest} -> Parser.wrong("the range #{<<from::utf8>>}-#{<<to::utf8>>} is empty")
      {set, rest} -> {{:any, [{:range, from, from}, {:range, ?-, ?-}, set]}, rest}
    end
  end

  defp range(member, rest), do: {member, rest}
end
