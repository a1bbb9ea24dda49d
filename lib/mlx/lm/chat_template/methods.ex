defmodule Mlx.LM.ChatTemplate.Methods do
  @moduledoc false
  # The methods of strings, dictionaries, lists and tuples. Those that would change a value are refused: templates get
  # their data to read.

  alias Mlx.LM.ChatTemplate.{Arguments, Dict, Format, Problem, Text, Value}
  alias Mlx.LM.Tokenizer.CharacterClass

  @string ~w(capitalize casefold count endswith find format index isalnum isalpha isdecimal isdigit islower isspace) ++
            ~w(isupper join ljust lower lstrip partition removeprefix removesuffix replace rfind rjust rpartition) ++
            ~w(rsplit rstrip split splitlines startswith strip swapcase title upper zfill)
  @dict ~w(copy get items keys values)
  @sequence ~w(copy count index)
  @changing ~w(append clear extend insert pop popitem remove reverse setdefault sort update)

  @doc "Whether a value has a method of this name. Fails for a method that would change the value."
  @spec member?(Value.t(), String.t()) :: boolean
  def member?(value, name) when is_binary(value), do: name in @string
  def member?(%Dict{} = dict, name), do: name in @dict or changing?(dict, name)
  def member?(value, name) when is_list(value), do: name in @sequence or changing?(value, name)
  def member?({:tuple, _items}, name), do: name in @sequence
  def member?(_value, _name), do: false

  # A key of a dictionary may well be named as such a method.
  defp changing?(%Dict{} = dict, name) when name in @changing do
    if Dict.member?(dict, name), do: false, else: refuse(dict, name)
  end

  defp changing?(value, name) when name in @changing, do: refuse(value, name)
  defp changing?(_value, _name), do: false

  @spec refuse(Value.t(), String.t()) :: no_return
  defp refuse(value, name), do: Problem.fail("'#{name}' would change a #{Value.type(value)}, which templates must not")

  @doc "Calls a method."
  @spec call(Value.t(), String.t(), [Value.t()], [{String.t(), Value.t()}]) :: Value.t()
  def call(text, "format", positional, keywords), do: Format.braces(text, positional, keywords)

  def call(value, name, positional, keywords) do
    arguments = Arguments.bind(name, positional, keywords, parameters(value, name))
    method(value, name, arguments)
  end

  defp parameters(_value, name) when name in ~w(strip lstrip rstrip), do: [chars: nil]
  defp parameters(_value, name) when name in ~w(split rsplit), do: [sep: nil, maxsplit: -1]
  defp parameters(_value, "replace"), do: [old: :required, new: :required, count: -1]
  defp parameters(_value, name) when name in ~w(ljust rjust), do: [width: :required, fillchar: " "]
  defp parameters(_value, "get"), do: [key: :required, default: nil]

  defp parameters(_value, name) when name in ~w(startswith endswith find rfind index count join partition rpartition) do
    [value: :required]
  end

  defp parameters(_value, name) when name in ~w(removeprefix removesuffix zfill), do: [value: :required]
  defp parameters(_value, _name), do: []

  defp method(%Dict{} = dict, "get", [key, default]) do
    case Dict.fetch(dict, key) do
      {:ok, value} -> value
      :error -> default
    end
  end

  defp method(%Dict{} = dict, "items", []), do: for({key, value} <- dict.pairs, do: {:tuple, [key, value]})
  defp method(%Dict{} = dict, "keys", []), do: Dict.keys(dict)
  defp method(%Dict{} = dict, "values", []), do: Dict.values(dict)
  defp method(value, "copy", []), do: value

  defp method(text, name, arguments) when is_binary(text), do: string(text, name, arguments)

  defp method(value, "count", [item]), do: value |> Value.items() |> Enum.count(&Value.equal?(&1, item))

  defp method(value, "index", [item]) do
    index = value |> Value.items() |> Enum.find_index(&Value.equal?(&1, item))
    index || Problem.fail("#{Value.repr(item)} is not in the #{Value.type(value)}")
  end

  defp string(text, "upper", []), do: Text.upper(text)
  defp string(text, "lower", []), do: Text.lower(text)
  defp string(text, "casefold", []), do: String.downcase(text)
  defp string(text, "capitalize", []), do: Text.capitalize(text)
  defp string(text, "title", []), do: Text.title(text)
  defp string(text, "swapcase", []), do: text |> Text.points() |> Enum.map_join(&swap_case/1)
  defp string(text, "strip", [chars]), do: Text.strip(text, chars(chars))
  defp string(text, "lstrip", [chars]), do: Text.strip_left(text, chars(chars))
  defp string(text, "rstrip", [chars]), do: Text.strip_right(text, chars(chars))
  defp string(text, "split", [nil, limit]), do: Text.split(text, integer(limit))
  defp string(text, "split", [separator, limit]), do: Text.split_on(text, string(separator), integer(limit))
  defp string(text, "rsplit", [nil, limit]), do: Text.split_right(text, nil, integer(limit))
  defp string(text, "rsplit", [separator, limit]), do: Text.split_right(text, string(separator), integer(limit))
  defp string(text, "splitlines", []), do: Text.lines(text)

  defp string(text, "replace", [pattern, replacement, count]) do
    Text.replace(text, string(pattern), string(replacement), integer(count))
  end

  defp string(text, "startswith", [start]), do: Enum.any?(one_or_more(start), &String.starts_with?(text, &1))
  defp string(text, "endswith", [ending]), do: Enum.any?(one_or_more(ending), &String.ends_with?(text, &1))

  defp string(text, "removeprefix", [prefix]), do: String.replace_prefix(text, string(prefix), "")
  defp string(text, "removesuffix", [suffix]), do: String.replace_suffix(text, string(suffix), "")

  defp string(text, "join", [items]) do
    parts = Value.items(items)
    Enum.each(parts, &(is_binary(&1) || Problem.fail("join() needs strings, not #{Value.type(&1)}")))
    join(parts, text)
  end

  defp string(text, "find", [part]), do: find(text, string(part))
  defp string(text, "rfind", [part]), do: find_last(text, string(part))

  defp string(text, "index", [part]) do
    with -1 <- find(text, string(part)), do: Problem.fail("substring not found")
  end

  defp string(text, "count", [""]), do: Text.length(text) + 1
  defp string(text, "count", [part]), do: length(Text.split_on(text, string(part), -1)) - 1

  defp string(text, "partition", [separator]) do
    case Text.split_on(text, string(separator), 1) do
      [text] -> {:tuple, [text, "", ""]}
      [left, right] -> {:tuple, [left, separator, right]}
    end
  end

  defp string(text, "rpartition", [separator]) do
    case Text.split_right(text, string(separator), 1) do
      [text] -> {:tuple, ["", "", text]}
      [left, right] -> {:tuple, [left, separator, right]}
    end
  end

  defp string(text, "ljust", [width, fill]), do: text <> fill(text, width, fill)
  defp string(text, "rjust", [width, fill]), do: fill(text, width, fill) <> text
  defp string(text, "zfill", [width]), do: Format.pad_zeros(text, Problem.check_size(integer(width)))
  defp string(text, "isspace", []), do: all?(text, &Text.space?/1)
  defp string(text, "isalpha", []), do: all?(text, &(CharacterClass.of(&1) == :letter))
  defp string(text, "isalnum", []), do: all?(text, &(CharacterClass.of(&1) in [:letter, :number]))
  defp string(text, name, []) when name in ~w(isdigit isdecimal), do: all?(text, &digit?/1)
  defp string(text, "isupper", []), do: text == Text.upper(text) and text != Text.lower(text)
  defp string(text, "islower", []), do: text == Text.lower(text) and text != Text.upper(text)

  @doc "Strings with a separator between them."
  @spec join([String.t()], String.t()) :: String.t()
  def join(parts, separator) do
    size = Enum.reduce(parts, 0, &(byte_size(&1) + byte_size(separator) + &2))
    Problem.check_size(size)
    parts |> Enum.intersperse(separator) |> IO.iodata_to_binary()
  end

  defp find(text, part) do
    case part != "" && :binary.match(text, part) do
      false -> 0
      {at, _size} -> text |> binary_part(0, at) |> Text.length()
      :nomatch -> -1
    end
  end

  defp find_last(text, part) do
    case find(Text.backwards(text), Text.backwards(part)) do
      -1 -> -1
      at -> Text.length(text) - at - Text.length(part)
    end
  end

  defp swap_case(char), do: if(char == Text.upper(char), do: Text.lower(char), else: Text.upper(char))

  defp fill(text, width, fill) do
    missing = max(integer(width) - Text.length(text), 0)
    Problem.check_size(missing * byte_size(string(fill)))
    String.duplicate(fill, missing)
  end

  defp all?("", _predicate), do: false
  defp all?(<<char::utf8, rest::binary>>, predicate), do: predicate.(char) and (rest == "" or all?(rest, predicate))

  defp digit?(char), do: :unicode_util.lookup(char).category == {:number, :decimal}

  defp one_or_more({:tuple, items}), do: Enum.map(items, &string/1)
  defp one_or_more(value), do: [string(value)]

  defp chars(nil), do: nil
  defp chars(value), do: string(value)

  defp string(value) when is_binary(value), do: value
  defp string({:undefined, text}), do: Problem.fail(text)
  defp string(value), do: Problem.fail("a string is needed, not #{Value.type(value)}")

  defp integer(value) when is_integer(value), do: value
  defp integer(value), do: Problem.fail("an integer is needed, not #{Value.type(value)}")
end
