defmodule Mlx.LM.Grammar.EBNF do
  @moduledoc false
  # Reads context-free grammars as llama.cpp's GBNF and similar notations write them:
  #
  #     root ::= greeting (" and " greeting){0,3}   # the rule `root`, or else the first one, is the text
  #     greeting ::= "hello" | 'hi' | [A-Z] [a-z]*
  #
  # A rule that begins with itself becomes a repetition.

  alias Mlx.LM.Grammar.Expression

  @most 1_000_000

  @doc "The trees of the rules, and the name of the first one. Throws `{:wrong, message}`."
  @spec parse(String.t()) :: {%{String.t() => Expression.t()}, String.t()}
  def parse(source) do
    unless String.valid?(source), do: wrong!(1, "the grammar is not UTF-8")
    rules = source |> tokens(1, []) |> rules([])
    names = Enum.map(rules, &elem(&1, 0))
    trees = Map.new(rules)

    case names -- Enum.uniq(names) do
      [name | _] -> wrong!(nil, "the rule #{name} is defined twice")
      [] -> :ok
    end

    for {name, tree} <- rules, called <- Expression.refs(tree), not is_map_key(trees, called) do
      wrong!(nil, "the rule #{name} calls #{called}, which is not defined")
    end

    {Map.new(trees, fn {name, tree} -> {name, repeated(tree, name)} end),
     if("root" in names, do: "root", else: hd(names))}
  end

  @spec wrong!(pos_integer() | nil, String.t()) :: no_return()
  defp wrong!(nil, problem), do: throw({:wrong, problem})
  defp wrong!(line, problem), do: throw({:wrong, "line #{line}: #{problem}"})

  # `a ::= a b | c` has the texts of `a ::= c b*`.
  defp repeated({:alt, branches}, name) do
    {left, others} = Enum.split_with(branches, &begins?(&1, name))

    case left do
      [] ->
        {:alt, branches}

      left ->
        behind = for branch <- left, do: branch |> rest() |> Expression.seq()
        Expression.seq([Expression.alt(others), {:repeat, Expression.alt(behind), 0, :infinity}])
    end
  end

  defp repeated(tree, name), do: if(begins?(tree, name), do: Expression.never(), else: tree)

  defp begins?({:ref, name}, name), do: true
  defp begins?({:seq, [{:ref, name} | _]}, name), do: true
  defp begins?(_tree, _name), do: false

  defp rest({:ref, _name}), do: []
  defp rest({:seq, [_ref | rest]}), do: rest

  # Tokens with their lines.
  defp tokens("", line, tokens), do: Enum.reverse([{:end, line} | tokens])
  defp tokens("\n" <> rest, line, tokens), do: tokens(rest, line + 1, tokens)
  defp tokens(<<char, rest::binary>>, line, tokens) when char in ~c" \t\r", do: tokens(rest, line, tokens)
  defp tokens("#" <> rest, line, tokens), do: rest |> after_comment() |> tokens(line, tokens)
  defp tokens("::=" <> rest, line, tokens), do: tokens(rest, line, [{:defined, line} | tokens])
  defp tokens(":=" <> rest, line, tokens), do: tokens(rest, line, [{:defined, line} | tokens])
  defp tokens("=" <> rest, line, tokens), do: tokens(rest, line, [{:defined, line} | tokens])

  defp tokens(<<char, rest::binary>>, line, tokens) when char in ~c"|()*+?;.",
    do: tokens(rest, line, [{<<char>>, line} | tokens])

  defp tokens(<<quote, rest::binary>>, line, tokens) when quote in [?", ?'] do
    {text, rest} = literal(rest, quote, line, [])
    tokens(rest, line, [{{:text, text}, line} | tokens])
  end

  defp tokens("[^" <> rest, line, tokens) do
    {ranges, rest} = class(rest, line, [])
    tokens(rest, line, [{{:class, Expression.complement(ranges)}, line} | tokens])
  end

  defp tokens("[" <> rest, line, tokens) do
    {ranges, rest} = class(rest, line, [])
    tokens(rest, line, [{{:class, Expression.intersection(ranges, Expression.complement([]))}, line} | tokens])
  end

  defp tokens("{" <> rest, line, tokens) do
    with [count, rest] <- String.split(rest, "}", parts: 2),
         [_all, low, comma, high] <- Regex.run(~r/\A\s*(\d*)\s*(,?)\s*(\d*)\s*\z/, count),
         true <- low != "" or (comma != "" and high != "") do
      tokens(rest, line, [{count!(low, comma, high, line), line} | tokens])
    else
      _other -> wrong!(line, "expected `{n}`, `{n,}`, `{,m}` or `{n,m}`")
    end
  end

  defp tokens(<<char::utf8, _::binary>> = source, line, tokens) do
    case Regex.run(~r/\A[\p{L}_][\p{L}\p{N}_-]*/u, source) do
      [name] -> source |> binary_slice(byte_size(name)..-1//1) |> tokens(line, [{{:name, name}, line} | tokens])
      nil -> wrong!(line, "#{inspect(<<char::utf8>>)} cannot stand here")
    end
  end

  defp after_comment(rest) do
    case :binary.match(rest, "\n") do
      {at, 1} -> binary_slice(rest, at..-1//1)
      :nomatch -> ""
    end
  end

  defp count!(low, comma, high, line) do
    min = if low == "", do: 0, else: String.to_integer(low)

    max =
      cond do
        high != "" -> String.to_integer(high)
        comma == "" -> min
        true -> :infinity
      end

    cond do
      max(min, if(max == :infinity, do: 0, else: max)) > @most ->
        wrong!(line, "a repetition of more than #{@most} times")

      max != :infinity and min > max ->
        wrong!(line, "the minimum of a repetition is above its maximum")

      true ->
        {:count, min, max}
    end
  end

  defp literal(<<quote, rest::binary>>, quote, _line, text), do: {text |> Enum.reverse() |> List.to_string(), rest}

  defp literal(source, quote, line, text) do
    {char, rest} = char(source, line, "a quoted text")
    literal(rest, quote, line, [char | text])
  end

  defp class("]" <> rest, _line, ranges), do: {ranges, rest}

  defp class(source, line, ranges) do
    {low, rest} = char(source, line, "a class")

    case rest do
      "-]" <> _ ->
        class(rest, line, [{low, low} | ranges])

      "-" <> rest ->
        {high, rest} = char(rest, line, "a class")
        if high < low, do: wrong!(line, "the range #{<<low::utf8>>}-#{<<high::utf8>>} runs backwards")
        class(rest, line, [{low, high} | ranges])

      rest ->
        class(rest, line, [{low, low} | ranges])
    end
  end

  defp char("\\x" <> rest, line, _place), do: number(rest, 2, line)
  defp char("\\u" <> rest, line, _place), do: number(rest, 4, line)
  defp char("\\U" <> rest, line, _place), do: number(rest, 8, line)
  defp char("\\n" <> rest, _line, _place), do: {?\n, rest}
  defp char("\\r" <> rest, _line, _place), do: {?\r, rest}
  defp char("\\t" <> rest, _line, _place), do: {?\t, rest}

  defp char(<<?\\, char::utf8, rest::binary>>, line, _place) do
    if char in ?a..?z or char in ?A..?Z or char in ?0..?9, do: wrong!(line, "`\\#{<<char::utf8>>}` is no known escape")
    {char, rest}
  end

  defp char("\n" <> _rest, line, place), do: wrong!(line, "#{place} has no end on its line")
  defp char(<<char::utf8, rest::binary>>, _line, _place), do: {char, rest}
  defp char("", line, place), do: wrong!(line, "#{place} has no end")

  defp number(source, digits, line) do
    with <<hex::binary-size(^digits), rest::binary>> <- source,
         {code, ""} when code in 0..0xD7FF or code in 0xE000..0x10FFFF <- Integer.parse(hex, 16) do
      {code, rest}
    else
      _other -> wrong!(line, "expected #{digits} hexadecimal digits of a character")
    end
  end

  defp rules([{:end, line}], []), do: wrong!(line, "there is no rule; a rule is written as `root ::= \"yes\" | \"no\"`")
  defp rules([{:end, _line}], rules), do: Enum.reverse(rules)
  defp rules([{";", _line} | rest], [_ | _] = rules), do: rules(rest, rules)

  defp rules([{{:name, name}, _}, {:defined, _} | rest], rules) do
    {tree, rest} = alternatives(rest)
    rules(rest, [{name, tree} | rules])
  end

  defp rules([{token, line} | _], _rules), do: wrong!(line, "expected a rule, as `name ::= ...`, got #{words(token)}")

  defp alternatives(tokens) do
    {first, rest} = sequence(tokens, [])

    case rest do
      [{"|", _line} | rest] ->
        {others, rest} = alternatives(rest)
        {Expression.alt([first, others]), rest}

      rest ->
        {first, rest}
    end
  end

  # A name with `::=` behind it begins the next rule.
  defp sequence([{{:name, _}, _}, {:defined, _} | _] = tokens, nodes), do: {sequence(nodes), tokens}
  defp sequence([{token, _} | _] = tokens, nodes) when token in ["|", ")", ";", :end], do: {sequence(nodes), tokens}

  defp sequence(tokens, nodes) do
    {node, rest} = atom(tokens)
    {node, rest} = repeated_by(node, rest)
    sequence(rest, [node | nodes])
  end

  defp sequence(nodes), do: nodes |> Enum.reverse() |> Expression.seq()

  defp atom([{{:text, text}, _} | rest]), do: {{:bytes, text}, rest}
  defp atom([{{:class, ranges}, _} | rest]), do: {{:set, ranges}, rest}
  defp atom([{{:name, name}, _} | rest]), do: {{:ref, name}, rest}
  defp atom([{".", _} | rest]), do: {Expression.any(), rest}

  defp atom([{"(", line} | rest]) do
    case alternatives(rest) do
      {tree, [{")", _} | rest]} -> {tree, rest}
      {_tree, [{token, _} | _]} -> wrong!(line, "expected `)` for this `(`, got #{words(token)}")
    end
  end

  defp atom([{token, line} | _]), do: wrong!(line, "expected a text, a class, a rule or a group, got #{words(token)}")

  defp repeated_by(node, [{"*", _} | rest]), do: repeated_by({:repeat, node, 0, :infinity}, rest)
  defp repeated_by(node, [{"+", _} | rest]), do: repeated_by({:repeat, node, 1, :infinity}, rest)
  defp repeated_by(node, [{"?", _} | rest]), do: repeated_by({:repeat, node, 0, 1}, rest)
  defp repeated_by(node, [{{:count, min, max}, _} | rest]), do: repeated_by({:repeat, node, min, max}, rest)
  defp repeated_by(node, rest), do: {node, rest}

  defp words(:end), do: "the end"
  defp words(:defined), do: "`::=`"
  defp words({:text, text}), do: inspect(text)
  defp words({:name, name}), do: name
  defp words({:class, _ranges}), do: "a class"
  defp words({:count, _min, _max}), do: "a count"
  defp words(token), do: "`#{token}`"
end
