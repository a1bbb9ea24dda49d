defmodule Mlx.LM.ChatTemplate.Lexer do
  @moduledoc false
  # Cuts a template into tokens `{type, value, line}`.
  #
  # Types are `:data` (text between tags), `:block_begin` and `:block_end` (`{% %}`), `:variable_begin` and `:variable_end`
  # (`{{ }}`), `:name`, `:string`, `:integer`, `:float` and `:operator`. Comments and raw blocks are dealt with here, and so
  # is white space: blocks and comments take the line break behind them (`trim_blocks`) and the blanks in front of them on
  # their line (`lstrip_blocks`), `-` takes all white space on its side, and `+` keeps it.

  alias Mlx.LM.ChatTemplate.{Problem, Text}

  @type token :: {atom, term, pos_integer}

  @max_source 1_048_576
  @max_brackets 200

  @operators ~w(// ** == != >= <= + - / * % ~ [ ] \( \) { } > < = . : | , ;)
  @closing %{"(" => ")", "[" => "]", "{" => "}"}

  @doc "The tokens of a template. Raises `Mlx.Error` with the line of what is wrong."
  @spec tokens(String.t()) :: [token]
  def tokens(source) do
    Problem.locate(1, fn ->
      if byte_size(source) > @max_source, do: Problem.fail("the template is longer than #{@max_source} bytes")
      if not String.valid?(source), do: Problem.fail("the template is not UTF-8")
    end)

    source = source |> String.replace(["\r\n", "\r"], "\n") |> drop_last_break()
    source |> text(1, true, []) |> Enum.reverse()
  end

  defp drop_last_break(source) do
    if String.ends_with?(source, "\n"), do: binary_part(source, 0, byte_size(source) - 1), else: source
  end

  # Text up to the next tag. `fresh` says that it begins a line.
  defp text(source, line, fresh, tokens) do
    case :binary.match(source, ["{%", "{{", "{#"]) do
      :nomatch ->
        data(source, line, tokens)

      {at, 2} ->
        <<text::binary-size(at), tag::binary-size(2), rest::binary>> = source
        {sign, rest} = sign(rest)
        tokens = text |> strip_right(tag, sign, fresh) |> data(line, tokens)
        tag(tag, rest, line + breaks(text), tokens)
    end
  end

  defp data("", _line, tokens), do: tokens
  defp data(text, line, tokens), do: [{:data, text, line} | tokens]

  defp sign(<<sign, rest::binary>>) when sign in [?-, ?+], do: {sign, rest}
  defp sign(rest), do: {nil, rest}

  defp strip_right(text, _tag, ?-, _fresh), do: Text.strip_right(text)
  defp strip_right(text, _tag, ?+, _fresh), do: text
  defp strip_right(text, "{{", nil, _fresh), do: text

  defp strip_right(text, _tag, nil, fresh) do
    {lines, blanks} = split_last_line(text)

    if (lines != "" or fresh) and Text.strip_left(blanks) == "", do: lines, else: text
  end

  defp split_last_line(text) do
    case :binary.matches(text, "\n") do
      [] -> {"", text}
      breaks -> split_binary(text, elem(List.last(breaks), 0) + 1)
    end
  end

  defp split_binary(text, at), do: {binary_part(text, 0, at), binary_part(text, at, byte_size(text) - at)}

  defp tag("{#", rest, line, tokens), do: comment(rest, line, tokens)
  defp tag("{{", rest, line, tokens), do: code(rest, line, :variable, [], [{:variable_begin, "{{", line} | tokens])

  defp tag("{%", rest, line, tokens) do
    case Regex.run(~r/\A\s*raw\s*(?:-%}\s*|%})/, rest) do
      [begin] -> raw(drop(rest, begin), line, line + breaks(begin), String.ends_with?(begin, "\n"), tokens)
      nil -> code(rest, line, :block, [], [{:block_begin, "{%", line} | tokens])
    end
  end

  defp comment(source, line, tokens) do
    case :binary.match(source, "#}") do
      :nomatch ->
        problem(line, "a comment does not end")

      {at, 2} ->
        {comment, <<"#}", rest::binary>>} = split_binary(source, at)
        {skipped, rest} = behind_tag(String.last(comment), rest)
        text(rest, line + breaks(comment) + breaks(skipped), String.ends_with?(skipped, "\n"), tokens)
    end
  end

  # What a tag takes of the text behind it.
  defp behind_tag("-", rest) do
    stripped = Text.strip_left(rest)
    {binary_part(rest, 0, byte_size(rest) - byte_size(stripped)), stripped}
  end

  defp behind_tag("+", rest), do: {"", rest}
  defp behind_tag(_sign, <<?\n, rest::binary>>), do: {"\n", rest}
  defp behind_tag(_sign, rest), do: {"", rest}

  defp raw(source, begin, line, fresh, tokens) do
    case Regex.run(~r/\A(.*?)\{%([-+]?)\s*endraw\s*([-+]?)%}/s, source) do
      [all, text, before, behind] ->
        {skipped, rest} = behind_tag(behind, drop(source, all))
        sign = if before == "", do: nil, else: :binary.first(before)
        tokens = text |> strip_right("{%", sign, fresh) |> data(line, tokens)
        text(rest, line + breaks(all) + breaks(skipped), String.ends_with?(skipped, "\n"), tokens)

      nil ->
        problem(begin, "a raw block does not end")
    end
  end

  # Inside a tag. `open` are the closing brackets that are awaited.

  defp code("", line, kind, _open, _tokens), do: problem(line, "a #{kind} tag does not end")

  defp code(<<"-%}", rest::binary>>, line, :block, [], tokens), do: code_end(:block_end, "-", rest, line, tokens)
  defp code(<<"+%}", rest::binary>>, line, :block, [], tokens), do: code_end(:block_end, "+", rest, line, tokens)
  defp code(<<"%}", rest::binary>>, line, :block, [], tokens), do: code_end(:block_end, "", rest, line, tokens)
  defp code(<<"-}}", rest::binary>>, line, :variable, [], tokens), do: code_end(:variable_end, "-", rest, line, tokens)
  defp code(<<"}}", rest::binary>>, line, :variable, [], tokens), do: code_end(:variable_end, "+", rest, line, tokens)
  defp code(<<"\n", rest::binary>>, line, kind, open, tokens), do: code(rest, line + 1, kind, open, tokens)

  defp code(<<quote, rest::binary>>, line, kind, open, tokens) when quote in [?", ?'] do
    {string, size} = string(rest, quote, line, 0)
    literal = binary_part(rest, 0, size)
    tokens = [{:string, string, line} | tokens]
    code(drop(rest, literal, 1), line + breaks(literal), kind, open, tokens)
  end

  defp code(<<digit, _::binary>> = source, line, kind, open, tokens) when digit in ?0..?9 do
    {type, number, literal} = number(source, match?([{:operator, ".", _line} | _], tokens))
    code(drop(source, literal), line, kind, open, [{type, number, line} | tokens])
  end

  defp code(<<char::utf8, rest::binary>> = source, line, kind, open, tokens) do
    cond do
      Text.space?(char) ->
        code(rest, line, kind, open, tokens)

      Text.word?(char) ->
        name = name(source, 0)
        code(drop(source, name), line, kind, open, [{:name, name, line} | tokens])

      operator = Enum.find(@operators, &String.starts_with?(source, &1)) ->
        code(drop(source, operator), line, kind, balance(operator, open, line), [{:operator, operator, line} | tokens])

      true ->
        problem(line, "unexpected character #{inspect(<<char::utf8>>)}")
    end
  end

  defp code_end(type, sign, rest, line, tokens) do
    {skipped, rest} = behind_tag(sign, rest)
    text(rest, line + breaks(skipped), String.ends_with?(skipped, "\n"), [{type, type, line} | tokens])
  end

  defp balance(operator, open, line) when is_map_key(@closing, operator) do
    if length(open) >= @max_brackets, do: problem(line, "brackets are nested more than #{@max_brackets} deep")
    [@closing[operator] | open]
  end

  defp balance(operator, [operator | open], _line), do: open
  defp balance(operator, _open, line) when operator in [")", "]", "}"], do: problem(line, "unexpected '#{operator}'")
  defp balance(_operator, open, _line), do: open

  # The value of a string literal, and its size in bytes up to the closing quote.
  defp string(source, quote, line, size), do: string(source, quote, line, size, [])

  defp string(<<quote, _rest::binary>>, quote, _line, size, chars) do
    {chars |> Enum.reverse() |> IO.iodata_to_binary(), size}
  end

  defp string(<<?\\, rest::binary>>, quote, line, size, chars) do
    case Text.unescape(rest) do
      {:ok, text, used} -> string(drop(rest, used), quote, line, size + 1 + used, [text | chars])
      :error -> problem(line, "a string has a bad escape")
    end
  end

  defp string(<<char::utf8, rest::binary>>, quote, line, size, chars) do
    char = <<char::utf8>>
    string(rest, quote, line, size + byte_size(char), [char | chars])
  end

  defp string("", _quote, line, _size, _chars), do: problem(line, "a string does not end")

  defp number(source, after_dot) do
    float = ~r/\A(?:\d+_)*\d+(?:(?:\.(?:\d+_)*\d+)?[eE][+-]?(?:\d+_)*\d+|\.(?:\d+_)*\d+)/
    integer = ~r/\A(?:0[bB](?:_?[01])+|0[oO](?:_?[0-7])+|0[xX](?:_?[0-9a-fA-F])+|[1-9](?:_?\d)*|0(?:_?0)*)/

    case !after_dot && Regex.run(float, source) do
      [literal] ->
        {:float, literal |> String.replace("_", "") |> float(), literal}

      _no_float ->
        [literal] = Regex.run(integer, source)
        {:integer, literal |> String.replace("_", "") |> String.downcase() |> integer(), literal}
    end
  end

  defp float(text) do
    {float, ""} = Float.parse(text)
    float
  end

  defp integer("0b" <> digits), do: String.to_integer(digits, 2)
  defp integer("0o" <> digits), do: String.to_integer(digits, 8)
  defp integer("0x" <> digits), do: String.to_integer(digits, 16)
  defp integer(digits), do: String.to_integer(digits)

  defp name(source, size) do
    with <<_name::binary-size(size), char::utf8, _rest::binary>> <- source, true <- Text.word?(char) do
      name(source, size + byte_size(<<char::utf8>>))
    else
      _end -> binary_part(source, 0, size)
    end
  end

  defp drop(source, used, more \\ 0)
  defp drop(source, used, more) when is_binary(used), do: drop(source, byte_size(used), more)
  defp drop(source, used, more), do: binary_part(source, used + more, byte_size(source) - used - more)

  defp breaks(text), do: text |> :binary.matches("\n") |> length()

  @spec problem(pos_integer, String.t()) :: no_return
  defp problem(line, text), do: Problem.locate(line, fn -> Problem.fail(text) end)
end
