defmodule Mlx.LM.ChatTemplate.Format do
  @moduledoc false
  # Python's two ways to put values into a string: `"%s" % value` and `"{}".format(value)`.

  alias Mlx.LM.ChatTemplate.{Dict, Problem, Text, Value}

  @directive ~S"%(?:\(([^)]*)\))?([-+ 0#]*)(\d*)(?:\.(\d+))?([a-zA-Z%])"

  @doc "`text % value`."
  @spec percent(String.t(), Value.t()) :: String.t()
  def percent(text, value) do
    parts = Regex.split(Regex.compile!(@directive), text, include_captures: true)

    {parts, left} =
      Enum.map_reduce(parts, arguments(value), fn part, arguments ->
        case Regex.run(Regex.compile!("\\A" <> @directive <> "\\z"), part) do
          nil -> {plain(part), arguments}
          [_all, _key, _flags, _width, _precision, "%"] -> {"%", arguments}
          [_all, key, flags, width, precision, kind] -> directive(key, flags, width, precision, kind, value, arguments)
        end
      end)

    if left != [] and not is_struct(value, Dict),
      do: Problem.fail("not all arguments converted during string formatting")

    IO.iodata_to_binary(parts)
  end

  defp arguments({:tuple, items}), do: items
  defp arguments(value), do: [value]

  defp plain(part) do
    if String.contains?(part, "%"), do: Problem.fail("a '%' has no format behind it"), else: part
  end

  defp directive("", flags, width, precision, kind, _value, [argument | rest]) do
    {argument |> convert(kind, precision) |> pad(flags, width, kind), rest}
  end

  defp directive("", _flags, _width, _precision, _kind, _value, []) do
    Problem.fail("not enough arguments for format string")
  end

  defp directive(key, flags, width, precision, kind, %Dict{} = dict, arguments) do
    case Dict.fetch(dict, key) do
      {:ok, value} -> {value |> convert(kind, precision) |> pad(flags, width, kind), arguments}
      :error -> Problem.fail("no value for the format key '#{key}'")
    end
  end

  defp directive(_key, _flags, _width, _precision, _kind, _value, _arguments) do
    Problem.fail("format requires a mapping")
  end

  defp convert(value, "s", ""), do: Value.string(value)
  defp convert(value, "s", precision), do: value |> Value.string() |> Text.part(0, String.to_integer(precision))
  defp convert(value, "r", _precision), do: Value.repr(value)

  defp convert(value, kind, precision) do
    if not Value.number?(value), do: Problem.fail("%#{kind} format: a number is required, not #{Value.type(value)}")
    number(Value.number(value), kind, precision)
  end

  defp number(value, kind, _precision) when kind in ["d", "i", "u"], do: value |> trunc() |> Integer.to_string()
  defp number(value, "x", _precision) when is_integer(value), do: value |> Integer.to_string(16) |> String.downcase()
  defp number(value, "X", _precision) when is_integer(value), do: Integer.to_string(value, 16)
  defp number(value, "o", _precision) when is_integer(value), do: Integer.to_string(value, 8)
  defp number(value, "f", precision), do: fixed(value, precision(precision))
  defp number(_value, kind, _precision), do: Problem.fail("unsupported format '%#{kind}'")

  defp precision(""), do: 6
  defp precision(digits), do: digits |> String.to_integer() |> min(100)

  defp fixed(value, digits) do
    scaled = scaled(value, digits)
    all = scaled |> abs() |> Integer.to_string() |> String.pad_leading(digits + 1, "0")
    {whole, fraction} = String.split_at(all, -digits)
    sign = if scaled < 0, do: "-", else: ""
    if digits == 0, do: sign <> all, else: sign <> whole <> "." <> fraction
  end

  @doc """
  The integer nearest to `value * 10 ** digits`, of two equally near ones the even one.

      iex> Mlx.LM.ChatTemplate.Format.scaled(2.5, 0)
      2
      iex> Mlx.LM.ChatTemplate.Format.scaled(2.675, 2)
      267
  """
  @spec scaled(number, integer) :: integer
  def scaled(value, digits) do
    {numerator, denominator} = if is_float(value), do: Float.ratio(value), else: {value, 1}
    power = Integer.pow(10, abs(digits))

    {numerator, denominator} =
      if digits < 0, do: {numerator, denominator * power}, else: {numerator * power, denominator}

    below = Integer.floor_div(numerator, denominator)
    twice = 2 * (numerator - below * denominator)

    if twice > denominator or (twice == denominator and rem(below, 2) != 0), do: below + 1, else: below
  end

  defp pad(text, flags, width, kind) do
    text = if String.contains?(flags, "+") and kind not in ["s", "r"] and text >= "0", do: "+" <> text, else: text
    width = if width == "", do: 0, else: width |> String.to_integer() |> Problem.check_size()

    cond do
      String.contains?(flags, "-") -> String.pad_trailing(text, width)
      String.contains?(flags, "0") and kind not in ["s", "r"] -> pad_zeros(text, width)
      true -> String.pad_leading(text, width)
    end
  end

  @doc "`text` with zeros behind its sign, up to `width` characters."
  @spec pad_zeros(String.t(), integer) :: String.t()
  def pad_zeros(<<sign, digits::binary>>, width) when sign in [?-, ?+] do
    <<sign>> <> String.pad_leading(digits, max(width - 1, 0), "0")
  end

  def pad_zeros(text, width), do: String.pad_leading(text, max(width, 0), "0")

  @doc "`text.format(arguments, keywords)`, with `{}`, `{0}` and `{name}`."
  @spec braces(String.t(), [Value.t()], [{String.t(), Value.t()}]) :: String.t()
  def braces(text, arguments, keywords) do
    parts = Regex.split(~r/\{\{|\}\}|\{[^{}]*\}/, text, include_captures: true)

    {parts, _next} =
      Enum.map_reduce(parts, 0, fn
        "{{", next -> {"{", next}
        "}}", next -> {"}", next}
        "{}", next -> {argument(arguments, next), next + 1}
        "{" <> field, next -> {field |> String.trim_trailing("}") |> field(arguments, keywords), next}
        part, next -> {part, next}
      end)

    Problem.check_size(IO.iodata_length(parts))
    IO.iodata_to_binary(parts)
  end

  defp field(name, arguments, keywords) do
    case {Integer.parse(name), List.keyfind(keywords, name, 0)} do
      {{index, ""}, _keyword} -> argument(arguments, index)
      {_name, {_key, value}} -> Value.string(value)
      _none -> Problem.fail("unsupported format field #{Text.repr(name)}")
    end
  end

  defp argument(arguments, index) do
    case Enum.fetch(arguments, index) do
      {:ok, value} -> Value.string(value)
      :error -> Problem.fail("no argument #{index} for the format string")
    end
  end
end
