defmodule Mlx.LM.ChatTemplate.JSON do
  @moduledoc false
  # The filter `tojson`: JSON as Python's `json.dumps(value, ensure_ascii=False)` writes it, which is what models were
  # trained on.

  alias Mlx.LM.ChatTemplate.{Dict, Problem, Text, Value}

  @doc """
  Encodes a value. `indent` is the blanks of one level, or `nil` for one line; `separators` are those between elements
  and behind keys.
  """
  @spec encode(Value.t(), String.t() | nil, {String.t(), String.t()}, boolean) :: String.t()
  def encode(value, indent, separators, sort_keys) do
    {text, _size} = write(value, %{indent: indent, separators: separators, sort: sort_keys}, "\n", 0)
    IO.iodata_to_binary(text)
  end

  # `line` is the line break with the blanks of this level; the size so far goes along.

  defp write(value, style, line, size) when is_list(value), do: list(value, style, line, size)
  defp write({:tuple, items}, style, line, size), do: list(items, style, line, size)

  defp write(%Dict{pairs: pairs}, style, line, size) do
    {_comma, colon} = style.separators
    pairs = for {name, value} <- pairs, do: {key(name), value}
    pairs = if style.sort, do: Enum.sort_by(pairs, &elem(&1, 0)), else: pairs

    enclose(pairs, "{", "}", style, line, size, fn {name, value}, line, size ->
      name = string(name)
      {text, size} = write(value, style, line, size + byte_size(name))
      {[name, colon, text], size}
    end)
  end

  defp write(value, _style, _line, size) do
    text = scalar(value)
    {text, Problem.check_size(size + byte_size(text))}
  end

  defp list(items, style, line, size) do
    enclose(items, "[", "]", style, line, size, fn item, line, size -> write(item, style, line, size) end)
  end

  defp enclose([], open, close, _style, _line, size, _element), do: {open <> close, size + 2}

  defp enclose(elements, open, close, style, line, size, element) do
    inner = if style.indent, do: line <> style.indent, else: ""
    {comma, _colon} = style.separators
    overhead = byte_size(inner) + byte_size(comma) + 2

    {parts, size} =
      Enum.map_reduce(elements, size, fn part, size ->
        element.(part, inner, Problem.check_size(size + overhead))
      end)

    {[open, inner, Enum.intersperse(parts, comma <> inner), if(style.indent, do: line, else: ""), close], size}
  end

  defp scalar(nil), do: "null"
  defp scalar(true), do: "true"
  defp scalar(false), do: "false"
  defp scalar(value) when is_integer(value), do: Integer.to_string(value)
  defp scalar(value) when is_float(value), do: Text.float(value)
  defp scalar(value) when is_binary(value), do: string(value)
  defp scalar(value), do: Problem.fail("Object of type #{Value.type(value)} is not JSON serializable")

  defp key(value) when is_binary(value), do: value
  defp key(value), do: scalar(value)

  defp string(text), do: IO.iodata_to_binary([?", for(<<char::utf8 <- text>>, do: char(char)), ?"])

  defp char(?"), do: "\\\""
  defp char(?\\), do: "\\\\"
  defp char(?\n), do: "\\n"
  defp char(?\r), do: "\\r"
  defp char(?\t), do: "\\t"
  defp char(?\b), do: "\\b"
  defp char(?\f), do: "\\f"
  defp char(char) when char < 0x20, do: "\\u" <> Text.hex(char, 4)
  defp char(char), do: <<char::utf8>>
end
