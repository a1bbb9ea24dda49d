defmodule Mlx.LM.Grammar.Regex do
  @moduledoc false
  # Reads regular expressions, of what Python's `re` and ECMAScript have in common.
  #
  # Where the two differ, a node has the texts on which both agree: `.` is no line break of either, `\d`, `\w` and `\s` are
  # those of ASCII, and their negations leave out what is one of them in Unicode. What is no regular expression in the strict
  # sense, such as a look-ahead or a back-reference, is refused.

  alias Mlx.LM.Grammar.{CharacterClasses, Expression}

  # A count of repetition may be as large as this; the number of states is bounded, too.
  @most 1_000_000

  @doc """
  The tree of a regular expression. `where` is `:whole`, where a text is one match, or `:somewhere`, where it has one.

  Throws `{:wrong, message}`.
  """
  @spec parse(String.t(), :whole | :somewhere) :: Expression.t()
  def parse(source, where) do
    unless String.valid?(source), do: wrong!(source, "it is not UTF-8")

    case alternatives(String.to_charlist(source), source) do
      {tree, []} -> anchored(tree, where, source)
      {_tree, [?) | _]} -> wrong!(source, "there is a `)` without a `(`")
    end
  end

  @spec wrong!(String.t(), String.t()) :: no_return()
  defp wrong!(source, problem) do
    source = source |> String.replace_invalid() |> String.slice(0, 200)
    throw({:wrong, "the regular expression #{inspect(source)} cannot be enforced: #{problem}"})
  end

  # Each alternative with what it says of the start and the end of the text.
  defp anchored(tree, where, source) do
    tree
    |> branches()
    |> Enum.map(fn nodes ->
      {from_start, nodes} =
        if match?([:start | _], nodes), do: {true, Enum.drop_while(nodes, &(&1 == :start))}, else: {false, nodes}

      {rest, to_end} =
        nodes
        |> Enum.reverse()
        |> Enum.split_while(&(&1 == :end))
        |> then(fn {ends, rest} -> {Enum.reverse(rest), ends != []} end)

      tree = rest |> Enum.map(&plain(&1, source)) |> Expression.seq()
      all = {:repeat, Expression.any(), 0, :infinity}
      before = if from_start or where == :whole, do: [], else: [all]
      behind = if to_end or where == :whole, do: [], else: [all]
      Expression.seq(before ++ [tree] ++ behind)
    end)
    |> Expression.alt()
  end

  # The alternatives of a tree, each as a list of nodes; those of a group that is the whole text, too.
  defp branches({:any_of, branches}), do: Enum.flat_map(branches, &branches/1)
  defp branches({:list, [{:any_of, _branches} = group]}), do: branches(group)

  defp branches({:list, nodes}) do
    case edges(nodes) do
      {starts, [{:any_of, _} = group], ends} -> for branch <- branches(group), do: starts ++ branch ++ ends
      _other -> [nodes]
    end
  end

  defp edges(nodes) do
    {starts, rest} = Enum.split_while(nodes, &(&1 == :start))
    {ends, middle} = rest |> Enum.reverse() |> Enum.split_while(&(&1 == :end))
    {starts, Enum.reverse(middle), ends}
  end

  defp plain({:any_of, branches}, source), do: branches |> Enum.map(&plain(&1, source)) |> Expression.alt()
  defp plain({:list, nodes}, source), do: nodes |> Enum.map(&plain(&1, source)) |> Expression.seq()
  defp plain({:times, node, min, max}, source), do: {:repeat, plain(node, source), min, max}

  defp plain(anchor, source) when anchor in [:start, :end],
    do: wrong!(source, "`^` and `$` can stand only at the start and the end of an alternative")

  defp plain(node, _source), do: node

  defp alternatives(chars, source) do
    {first, rest} = sequence(chars, source, [])

    case rest do
      [?| | rest] ->
        case alternatives(rest, source) do
          {{:any_of, others}, rest} -> {{:any_of, [first | others]}, rest}
        end

      rest ->
        {{:any_of, [first]}, rest}
    end
  end

  defp sequence([char | _] = chars, _source, nodes) when char in [?|, ?)], do: {{:list, Enum.reverse(nodes)}, chars}
  defp sequence([], _source, nodes), do: {{:list, Enum.reverse(nodes)}, []}

  defp sequence(chars, source, nodes) do
    {node, rest} = atom(chars, source)
    {node, rest} = quantified(node, rest, source)
    sequence(rest, source, [node | nodes])
  end

  defp atom([?^ | rest], _source), do: {:start, rest}
  defp atom([?$ | rest], _source), do: {:end, rest}
  defp atom([?\\, char | rest], _source) when char == ?A, do: {:start, rest}
  defp atom([?\\, char | rest], _source) when char in [?Z, ?z], do: {:end, rest}
  defp atom([?. | rest], _source), do: {{:set, Expression.complement(CharacterClasses.line_breaks())}, rest}
  defp atom([?(, ??, ?: | rest], source), do: group(rest, source)
  defp atom([?(, ??, ?P, ?< | rest], source), do: named(rest, source)

  defp atom([?(, ??, ?<, char | _] = chars, source) when char not in [?=, ?!],
    do: chars |> Enum.drop(3) |> named(source)

  defp atom([?(, ??, char | _], source) do
    problem =
      if char in [?=, ?!, ?<], do: "look-ahead and look-behind", else: "groups that begin with `(?#{<<char::utf8>>}`"

    wrong!(source, "#{problem} are not supported")
  end

  defp atom([?( | rest], source), do: group(rest, source)
  defp atom([?[, ?^ | rest], source), do: class(rest, source, [], true)
  defp atom([?[ | rest], source), do: class(rest, source, [], false)
  defp atom([?\\ | rest], source), do: rest |> escape(source) |> then(fn {ranges, rest} -> {{:set, ranges}, rest} end)

  defp atom([char | _], source) when char in [?*, ?+, ??],
    do: wrong!(source, "there is nothing that `#{<<char>>}` could repeat")

  defp atom([char | rest], _source), do: {{:bytes, <<char::utf8>>}, rest}

  defp named(chars, source) do
    case Enum.split_while(chars, &(&1 != ?>)) do
      {_name, [?> | rest]} -> group(rest, source)
      {_name, []} -> wrong!(source, "the name of a group has no end")
    end
  end

  defp group(chars, source) do
    case alternatives(chars, source) do
      {tree, [?) | rest]} -> {tree, rest}
      {_tree, []} -> wrong!(source, "a `(` has no `)`")
    end
  end

  defp quantified(node, chars, source) do
    case quantifier(chars, source) do
      nil ->
        {node, chars}

      {_min, _max, _rest} when node in [:start, :end] ->
        wrong!(source, "`^` and `$` cannot be repeated")

      {_min, _max, [?+ | _]} ->
        wrong!(source, "possessive repetition is not supported")

      {min, max, rest} ->
        rest = if match?([?? | _], rest), do: tl(rest), else: rest
        if quantifier(rest, source), do: wrong!(source, "a repetition is repeated without a group")
        {{:times, node, min, max}, rest}
    end
  end

  defp quantifier([?* | rest], _source), do: {0, :infinity, rest}
  defp quantifier([?+ | rest], _source), do: {1, :infinity, rest}
  defp quantifier([?? | rest], _source), do: {0, 1, rest}

  defp quantifier([?{ | rest], source) do
    with {digits, [?} | after_brace]} <- Enum.split_while(rest, &(&1 != ?})),
         [_all, low, comma, high] <- Regex.run(~r/\A(\d*)(,?)(\d*)\z/, List.to_string(digits)),
         true <- low != "" or (comma != "" and high != "") do
      {min, max} = bounds(low, comma, high)

      cond do
        max != :infinity and min > max ->
          wrong!(source, "{#{digits}} has a minimum above its maximum")

        max(min, if(max == :infinity, do: 0, else: max)) > @most ->
          wrong!(source, "{#{digits}} repeats more than #{@most} times")

        true ->
          {min, max, after_brace}
      end
    else
      _no_count -> nil
    end
  end

  defp quantifier(_chars, _source), do: nil

  defp bounds(low, "", ""), do: {String.to_integer(low), String.to_integer(low)}
  defp bounds("", ",", high), do: {0, String.to_integer(high)}
  defp bounds(low, ",", ""), do: {String.to_integer(low), :infinity}
  defp bounds(low, ",", high), do: {String.to_integer(low), String.to_integer(high)}

  # The ranges of a class up to its bracket.
  defp class([?] | _rest], source, [], _negated),
    do: wrong!(source, "a class is empty; write `\\]` for the bracket itself")

  defp class([?] | rest], _source, ranges, negated) do
    ranges =
      if negated, do: Expression.complement(ranges), else: Expression.intersection(ranges, Expression.complement([]))

    {{:set, ranges}, rest}
  end

  defp class([], source, _ranges, _negated), do: wrong!(source, "a `[` has no `]`")

  defp class([?[, char | _], source, _ranges, _negated) when char in [?:, ?=, ?.],
    do: wrong!(source, "named classes in brackets, such as `[[:alpha:]]`, are not supported")

  defp class(chars, source, ranges, negated) do
    {low, rest} = member(chars, source, negated)

    case {low, rest} do
      {[{code, code}], [?-, char | _]} when char != ?] ->
        case member(tl(rest), source, negated) do
          {[{high, high}], rest} when high >= code -> class(rest, source, [{code, high} | ranges], negated)
          {[{high, high}], _rest} -> wrong!(source, "the range #{<<code::utf8>>}-#{<<high::utf8>>} runs backwards")
          {_class, _rest} -> wrong!(source, "a class of characters cannot end a range")
        end

      {low, rest} ->
        class(rest, source, low ++ ranges, negated)
    end
  end

  defp member([?\\ | rest], source, false), do: escape(rest, source, false)
  defp member([?\\ | rest], source, true), do: escape(rest, source, true)
  defp member([char | rest], _source, _negated), do: {[{char, char}], rest}
  defp member([], source, _negated), do: wrong!(source, "a `[` has no `]`")

  # What an escape stands for. In a negated class the classes are as large as in any of the two dialects, so that what is left
  # is out of both.
  defp escape(chars, source, wide \\ false)

  defp escape([letter | rest], _source, wide) when letter in ~c"dDwWsS",
    do: {CharacterClasses.of(letter, if(wide, do: :wide, else: :narrow)), rest}

  defp escape([letter | rest], _source, _wide) when letter in ~c"tnrfv" do
    code = Map.fetch!(%{?t => ?\t, ?n => ?\n, ?r => ?\r, ?f => ?\f, ?v => ?\v}, letter)
    {[{code, code}], rest}
  end

  defp escape([?x, a, b | rest], source, _wide), do: {code([a, b], source), rest}
  defp escape([?u, ?{ | rest], source, _wide), do: braced(rest, source)
  defp escape([?u, a, b, c, d | rest], source, _wide), do: surrogates([a, b, c, d], rest, source)
  defp escape([?0 | rest], _source, _wide), do: {[{0, 0}], rest}
  defp escape([digit | _], source, _wide) when digit in ?1..?9, do: wrong!(source, "back-references are not supported")

  defp escape([letter | _], source, _wide) when letter in ?a..?z or letter in ?A..?Z,
    do: wrong!(source, "`\\#{<<letter>>}` is not supported")

  defp escape([char | rest], _source, _wide), do: {[{char, char}], rest}
  defp escape([], source, _wide), do: wrong!(source, "a `\\` ends it")

  defp braced(chars, source) do
    case Enum.split_while(chars, &(&1 != ?})) do
      {digits, [?} | rest]} -> {code(digits, source), rest}
      {_digits, []} -> wrong!(source, "`\\u{` has no `}`")
    end
  end

  defp surrogates(digits, [?\\, ?u, a, b, c, d | rest] = more, source) do
    case {hex(digits), hex([a, b, c, d])} do
      {{high, ""}, {low, ""}} when high in 0xD800..0xDBFF and low in 0xDC00..0xDFFF ->
        code = 0x10000 + (high - 0xD800) * 0x400 + low - 0xDC00
        {[{code, code}], rest}

      _other ->
        {code(digits, source), more}
    end
  end

  defp surrogates(digits, rest, source), do: {code(digits, source), rest}

  defp code(digits, source) do
    case hex(digits) do
      {code, ""} when code in 0..0xD7FF or code in 0xE000..0x10FFFF -> [{code, code}]
      _other -> wrong!(source, "#{inspect(List.to_string(digits))} is not the number of a character")
    end
  end

  defp hex(digits), do: with(:error <- Integer.parse(List.to_string(digits), 16), do: {-1, ""})
end
