defmodule Mlx.LM.ChatTemplate.Filters do
  @moduledoc false
  # The filters behind `|`. `tojson` is that of the Python package `transformers`, which escapes nothing for HTML.

  alias Mlx.LM.ChatTemplate.{Access, Arguments, Dict, Format, JSON, Methods, Predicates, Problem, Text, Value}

  # The parameters of each filter behind its value; `:any` where it takes what comes.
  @parameters %{
    "abs" => [],
    "attr" => [name: :required],
    "batch" => [linecount: :required, fill_with: nil],
    "capitalize" => [],
    "center" => [width: 80],
    "count" => [],
    "d" => [default_value: "", boolean: false],
    "default" => [default_value: "", boolean: false],
    "dictsort" => [case_sensitive: false, by: "key", reverse: false],
    "e" => [],
    "escape" => [],
    "first" => [],
    "float" => [default: 0.0],
    "format" => :any,
    "indent" => [width: 4, first: false, blank: false],
    "int" => [default: 0, base: 10],
    "items" => [],
    "join" => [d: "", attribute: nil],
    "last" => [],
    "length" => [],
    "list" => [],
    "lower" => [],
    "map" => :any,
    "max" => [case_sensitive: false, attribute: nil],
    "min" => [case_sensitive: false, attribute: nil],
    "reject" => :any,
    "rejectattr" => :any,
    "replace" => [old: :required, new: :required, count: -1],
    "reverse" => [],
    "round" => [precision: 0, method: "common"],
    "safe" => [],
    "select" => :any,
    "selectattr" => :any,
    "sort" => [reverse: false, case_sensitive: false, attribute: nil],
    "string" => [],
    "sum" => [attribute: nil, start: 0],
    "title" => [],
    "tojson" => [ensure_ascii: false, indent: nil, separators: nil, sort_keys: false],
    "trim" => [chars: nil],
    "unique" => [case_sensitive: false, attribute: nil],
    "upper" => [],
    "wordcount" => []
  }

  @doc "`value | name(arguments)`."
  @spec call(String.t(), Value.t(), [Value.t()], [{String.t(), Value.t()}]) :: Value.t()
  def call(name, value, positional, keywords) do
    case @parameters do
      %{^name => :any} -> open(name, value, positional, keywords)
      %{^name => parameters} -> filter(name, value, Arguments.bind(name, positional, keywords, parameters))
      _none -> Problem.fail("there is no filter '#{name}'")
    end
  end

  # Filters that hand arguments on.

  defp open("format", value, positional, []), do: Format.percent(Value.string(value), {:tuple, positional})
  defp open("format", value, [], keywords), do: Format.percent(Value.string(value), Dict.new(keywords))
  defp open("format", _value, _positional, _keywords), do: Problem.fail("format() takes values or names, not both")

  defp open("map", value, [], keywords) do
    [attribute, default] = Arguments.bind("map", [], keywords, attribute: :required, default: nil)

    for item <- Value.items(value) do
      case Access.path(item, attribute) do
        {:undefined, _text} when default != nil -> default
        found -> found
      end
    end
  end

  defp open("map", value, [name | positional], keywords) do
    for item <- Value.items(value), do: call(string(name), item, positional, keywords)
  end

  defp open("select", value, arguments, []), do: value |> Value.items() |> Enum.filter(&selected?(&1, arguments))
  defp open("reject", value, arguments, []), do: value |> Value.items() |> Enum.reject(&selected?(&1, arguments))

  defp open("selectattr", value, [attribute | arguments], []) do
    value |> Value.items() |> Enum.filter(&(&1 |> Access.path(attribute) |> selected?(arguments)))
  end

  defp open("rejectattr", value, [attribute | arguments], []) do
    value |> Value.items() |> Enum.reject(&(&1 |> Access.path(attribute) |> selected?(arguments)))
  end

  defp open(name, _value, _positional, _keywords), do: Problem.fail("#{name}() got arguments that it does not take")

  defp selected?(item, []), do: Value.true?(item)
  defp selected?(item, [name | arguments]), do: Predicates.true?(string(name), item, arguments)

  # Values of any kind

  defp filter(name, {:undefined, _text}, [default, _boolean]) when name in ["default", "d"], do: default

  defp filter(name, value, [default, boolean]) when name in ["default", "d"] do
    if Value.true?(boolean) and not Value.true?(value), do: default, else: value
  end

  # Unlike a dot, this is not about elements.
  defp filter("attr", value, [name]) do
    if Methods.member?(Value.check_defined(value), string(name)),
      do: {:method, value, name},
      else: {:undefined, "'#{Value.type(value)} object' has no attribute #{Value.repr(name)}"}
  end

  defp filter("string", value, []), do: Value.string(value)
  defp filter("safe", value, []), do: Value.string(value)

  defp filter("tojson", value, [_ensure_ascii, indent, separators, sort_keys]) do
    indent = indent(indent)
    JSON.encode(value, indent, separators(separators, indent), Value.true?(sort_keys))
  end

  # Strings

  defp filter("upper", value, []), do: value |> Value.string() |> Text.upper()
  defp filter("lower", value, []), do: value |> Value.string() |> Text.lower()
  defp filter("capitalize", value, []), do: value |> Value.string() |> Text.capitalize()
  defp filter("title", value, []), do: value |> Value.string() |> Text.title_words()
  defp filter("trim", value, [nil]), do: value |> Value.string() |> Text.strip()
  defp filter("trim", value, [chars]), do: value |> Value.string() |> Text.strip(string(chars))

  defp filter("replace", value, [pattern, replacement, count]) do
    count = if count == nil, do: -1, else: integer(count)
    Text.replace(Value.string(value), Value.string(pattern), Value.string(replacement), count)
  end

  defp filter("center", value, [width]) do
    text = Value.string(value)
    missing = max(Problem.check_size(integer(width)) - Text.length(text), 0)
    left = div(missing, 2) + if(rem(missing, 2) == 1 and rem(integer(width), 2) == 1, do: 1, else: 0)
    String.duplicate(" ", left) <> text <> String.duplicate(" ", missing - left)
  end

  defp filter(name, value, []) when name in ["e", "escape"] do
    for <<char::utf8 <- Value.string(value)>>, into: "", do: escape(char)
  end

  defp filter("indent", value, [width, first, blank]) do
    indent =
      if is_binary(width), do: width, else: String.duplicate(" ", width |> integer() |> max(0) |> Problem.check_size())

    [first_line | lines] = Text.lines(Value.string(value) <> "\n")
    Problem.check_size((length(lines) + 1) * (byte_size(indent) + 1))
    blank = Value.true?(blank)
    lines = for line <- lines, do: ["\n", if(line != "" or blank, do: indent, else: ""), line]
    IO.iodata_to_binary([if(Value.true?(first), do: indent, else: ""), first_line, lines])
  end

  defp filter("wordcount", value, []) do
    ~r/\w+/u |> Regex.scan(Value.string(value)) |> length()
  end

  # Numbers

  defp filter("abs", value, []), do: value |> then(&Value.sign("+", &1)) |> abs()
  defp filter("int", value, [default, base]), do: to_integer(Value.check_defined(value), default, integer(base))
  defp filter("float", value, [default]), do: to_float(Value.check_defined(value), default)

  defp filter("round", value, [precision, method]) do
    round_to(Value.sign("+", value), precision |> integer() |> max(-300) |> min(300), method)
  end

  # Collections

  defp filter(name, value, []) when name in ["length", "count"], do: Value.length(value)
  defp filter("list", value, []), do: Value.items(value)

  defp filter("first", value, []),
    do: value |> Value.items() |> Enum.at(0, {:undefined, "No first item, sequence was empty."})

  defp filter("last", value, []),
    do: value |> Value.items() |> Enum.at(-1, {:undefined, "No last item, sequence was empty."})

  defp filter("reverse", value, []) when is_binary(value), do: Text.backwards(value)
  defp filter("reverse", value, []), do: value |> Value.items() |> Enum.reverse()
  defp filter("items", {:undefined, _text}, []), do: []
  defp filter("items", %Dict{} = dict, []), do: Methods.call(dict, "items", [], [])
  defp filter("items", _value, []), do: Problem.fail("Can only get item pairs from a mapping.")

  defp filter("join", value, [separator, attribute]) do
    value
    |> Value.items()
    |> Enum.map(&(&1 |> attribute(attribute) |> Value.string()))
    |> Methods.join(Value.string(separator))
  end

  defp filter("sort", value, [reverse, case_sensitive, attribute]) do
    sort(
      Value.items(value),
      reverse,
      &(&1 |> sort_keys(attribute) |> Enum.map(fn key -> fold(key, case_sensitive) end))
    )
  end

  defp filter("dictsort", %Dict{pairs: pairs}, [case_sensitive, by, reverse]) do
    at =
      case by do
        "key" -> 0
        "value" -> 1
        _other -> Problem.fail("dictsort() sorts by 'key' or by 'value'")
      end

    pairs |> sort(reverse, &(&1 |> elem(at) |> fold(case_sensitive))) |> Enum.map(&{:tuple, Tuple.to_list(&1)})
  end

  defp filter("dictsort", value, _arguments), do: Problem.fail("dictsort() needs a dict, not #{Value.type(value)}")

  defp filter("unique", value, [case_sensitive, attribute]) do
    value |> Value.items() |> Enum.uniq_by(&(&1 |> attribute(attribute) |> fold(case_sensitive) |> Dict.key()))
  end

  defp filter("min", value, [case_sensitive, attribute]), do: extreme(value, :lt, "min", case_sensitive, attribute)
  defp filter("max", value, [case_sensitive, attribute]), do: extreme(value, :gt, "max", case_sensitive, attribute)

  defp filter("sum", value, [attribute, start]) do
    value |> Value.items() |> Enum.reduce(start, &Value.binary("+", &2, attribute(&1, attribute)))
  end

  defp filter("batch", value, [count, fill]) do
    count = integer(count)
    if count < 1, do: Problem.fail("batch() needs a positive number")
    rows = value |> Value.items() |> Enum.chunk_every(count)
    Enum.map(rows, &fill_row(&1, count, fill))
  end

  defp fill_row(row, _count, nil), do: row

  defp fill_row(row, count, fill) do
    row ++ List.duplicate(fill, Problem.check_length(count) - length(row))
  end

  defp attribute(item, nil), do: item
  defp attribute(item, attribute), do: Access.path(item, attribute)

  defp sort_keys(item, attribute) when is_binary(attribute) do
    attribute |> String.split(",") |> Enum.map(&Access.path(item, &1))
  end

  defp sort_keys(item, attribute), do: [attribute(item, attribute)]

  defp sort(items, reverse, key) do
    wrong = if Value.true?(reverse), do: :lt, else: :gt

    items
    |> Enum.map(&{key.(&1), &1})
    |> Enum.sort(fn {left, _}, {right, _} -> Value.compare(left, right) != wrong end)
    |> Enum.map(&elem(&1, 1))
  end

  defp extreme(value, order, name, case_sensitive, attribute) do
    case Value.items(value) do
      [] ->
        {:undefined, "No aggregated item, sequence was empty."}

      [first | rest] ->
        key = &(&1 |> attribute(attribute) |> fold(case_sensitive))
        Enum.reduce(rest, first, &if(Value.compare(key.(&1), key.(&2)) == order, do: &1, else: &2))
    end
  catch
    {:problem, text} -> Problem.fail("#{name}(): #{text}")
  end

  defp fold(value, case_sensitive) when is_binary(value) do
    if Value.true?(case_sensitive), do: value, else: Text.lower(value)
  end

  defp fold(value, _case_sensitive), do: value

  defp escape(?&), do: "&amp;"
  defp escape(?<), do: "&lt;"
  defp escape(?>), do: "&gt;"
  defp escape(?"), do: "&#34;"
  defp escape(?'), do: "&#39;"
  defp escape(char), do: <<char::utf8>>

  defp indent(nil), do: nil
  defp indent(text) when is_binary(text), do: text
  defp indent(width), do: String.duplicate(" ", width |> integer() |> max(0) |> Problem.check_size())

  defp separators(nil, nil), do: {", ", ": "}
  defp separators(nil, _indent), do: {",", ": "}
  defp separators({:tuple, [comma, colon]}, _indent), do: {string(comma), string(colon)}
  defp separators([comma, colon], _indent), do: {string(comma), string(colon)}
  defp separators(_other, _indent), do: Problem.fail("separators are a pair of strings")

  defp to_integer(value, _default, _base) when is_integer(value), do: value
  defp to_integer(value, _default, _base) when is_float(value), do: trunc(value)
  defp to_integer(value, _default, _base) when is_boolean(value), do: Value.number(value)

  defp to_integer(value, default, base) when is_binary(value) and base in 2..36 do
    text = Text.strip(value)
    digits = if base == 16, do: String.replace(text, ~r/\A([-+]?)0[xX]/, "\\1"), else: text

    with {:digits, :error} <- {:digits, whole(Integer.parse(digits, base))},
         {:float, :error} <- {:float, if(base == 10, do: parse_float(text), else: :error)} do
      default
    else
      {:digits, number} -> number
      {:float, number} -> trunc(number)
    end
  end

  defp to_integer(_value, default, _base), do: default

  defp to_float(value, _default) when is_number(value), do: value * 1.0
  defp to_float(value, _default) when is_boolean(value), do: Value.number(value) * 1.0

  defp to_float(value, default) when is_binary(value) do
    with :error <- value |> Text.strip() |> parse_float(), do: default
  end

  defp to_float(_value, default), do: default

  defp parse_float(text) do
    case Regex.run(~r/\A([-+]?)(\d*)\.?(\d*)([eE][-+]?\d+)?\z/, text) do
      [_all, sign, whole, fraction | exponent] when whole != "" or fraction != "" ->
        whole(Float.parse("#{sign}0#{whole}.#{fraction}0#{exponent}"))

      _other ->
        :error
    end
  end

  defp whole({number, ""}), do: number
  defp whole(_other), do: :error

  defp round_to(value, precision, "common") when is_integer(value) and precision >= 0, do: value

  defp round_to(value, precision, "common") do
    scaled = Format.scaled(value, precision)
    power = Integer.pow(10, abs(precision))

    cond do
      is_integer(value) -> scaled * power
      precision < 0 -> scaled * power * 1.0
      true -> scaled / power
    end
  end

  defp round_to(value, precision, method) when method in ["ceil", "floor"] do
    power = :math.pow(10, precision)
    rounded = if method == "ceil", do: Float.ceil(value * power), else: Float.floor(value * power)
    rounded / power
  end

  defp round_to(_value, _precision, _method), do: Problem.fail("method must be common, ceil or floor")

  defp string(value) when is_binary(value), do: value
  defp string(value), do: Problem.fail("a string is needed, not #{Value.type(value)}")

  defp integer(value) when is_integer(value), do: value
  defp integer(value) when is_boolean(value), do: Value.number(value)
  defp integer(value), do: Problem.fail("an integer is needed, not #{Value.type(value)}")
end
