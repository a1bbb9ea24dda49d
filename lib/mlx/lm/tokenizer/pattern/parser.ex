defmodule Mlx.LM.Tokenizer.Pattern.Parser do
  @moduledoc false
  # Reads a regular expression, in the syntax of Oniguruma, as nodes for the matcher.
  #
  # `^` and `$` are those of lines, `.` is no line feed without `(?m)`, and classes can be cut by `&&`. Groups capture
  # nothing, so that there are no references to them.

  alias Mlx.LM.Tokenizer.Pattern.{CharacterSet, ClassParser, Choice, Width}

  @most_repeats 100_000
  @deepest 100

  @doc "The nodes of a regular expression. Throws `{:wrong, problem}`."
  @spec parse(String.t()) :: [tuple]
  def parse(source) do
    if not String.valid?(source), do: wrong("it is not UTF-8")

    case branches(source, %{fold: false, dot_all: false, extended: false, depth: 0}) do
      {nodes, ""} -> nodes
      {_nodes, ")" <> _rest} -> wrong("a ) has no (")
    end
  end

  @doc "Stops at what is wrong."
  @spec wrong(String.t()) :: no_return
  def wrong(problem), do: throw({:wrong, problem})

  # Branches up to a closing parenthesis or the end.
  defp branches(_source, %{depth: depth}) when depth > @deepest, do: wrong("its groups are more than #{@deepest} deep")

  defp branches(source, flags) do
    {branches, rest} = branches(source, flags, [])
    {choice(branches), rest}
  end

  defp branches(source, flags, done) do
    case sequence(source, flags, []) do
      {nodes, "|" <> rest, flags} -> branches(rest, flags, [nodes | done])
      {nodes, rest, _flags} -> {Enum.reverse([nodes | done]), rest}
    end
  end

  defp choice([nodes]), do: nodes
  defp choice(branches), do: [Choice.new(branches)]

  defp sequence("", flags, nodes), do: {Enum.reverse(nodes), "", flags}

  defp sequence(<<end_of_branch, _rest::binary>> = rest, flags, nodes) when end_of_branch in [?|, ?)],
    do: {Enum.reverse(nodes), rest, flags}

  defp sequence(source, flags, nodes) do
    case atom(source, flags) do
      {:flags, flags, rest} ->
        sequence(rest, flags, nodes)

      {:rest_with, inner, rest} ->
        # `(?i)` holds up to the end of the group, over branches.
        {inner_nodes, rest} = branches(rest, inner)
        {Enum.reverse(nodes, inner_nodes), rest, flags}

      {:skip, rest} ->
        sequence(rest, flags, nodes)

      {atom, rest} ->
        {node, rest} = quantified(atom, rest)
        sequence(rest, flags, Enum.reverse(node, nodes))
    end
  end

  # Atoms: a list of nodes and the rest.

  defp atom("(?#" <> rest, _flags) do
    case :binary.split(rest, ")") do
      [_comment, rest] -> {:skip, rest}
      [_comment] -> wrong("a comment does not end")
    end
  end

  defp atom("(?=" <> rest, flags), do: group(rest, flags, &[{:ahead, false, &1}])
  defp atom("(?!" <> rest, flags), do: group(rest, flags, &[{:ahead, true, &1}])
  defp atom("(?<=" <> rest, flags), do: group(rest, flags, &[{:behind, false, Width.branches(&1)}])
  defp atom("(?<!" <> rest, flags), do: group(rest, flags, &[{:behind, true, Width.branches(&1)}])
  defp atom("(?>" <> rest, flags), do: group(rest, flags, &[{:atomic, &1}])
  defp atom("(?:" <> rest, flags), do: group(rest, flags, &[{:group, &1}])

  defp atom("(?<" <> rest, flags) do
    case Regex.run(~r/\A[A-Za-z_]\w*>/, rest) do
      [name] -> rest |> binary_part(byte_size(name), byte_size(rest) - byte_size(name)) |> group(flags, &[{:group, &1}])
      nil -> wrong("a group has no name between < and >")
    end
  end

  defp atom("(?" <> rest, flags) do
    case Regex.run(~r/\A([imx]*)(?:-([imx]*))?([:)])/, rest) do
      [all, on, off, ending] ->
        rest = binary_part(rest, byte_size(all), byte_size(rest) - byte_size(all))
        inner = flags |> switch(on, true) |> switch(off, false)

        if ending == ":",
          do: group(rest, inner, &[{:group, &1}]),
          else: {:rest_with, %{inner | depth: flags.depth + 1}, rest}

      nil ->
        wrong("a group begins with (?#{String.slice(rest, 0, 1)}, which is not supported")
    end
  end

  defp atom("(" <> rest, flags), do: group(rest, flags, &[{:group, &1}])
  defp atom("[" <> rest, flags), do: ClassParser.parse(rest, flags) |> set(flags)
  defp atom("." <> rest, %{dot_all: true}), do: {[set_of({:range, 0, 0x10FFFF})], rest}
  defp atom("." <> rest, _flags), do: {[set_of({:not, {:range, ?\n, ?\n}})], rest}
  defp atom("^" <> rest, _flags), do: {[{:anchor, :line_start}], rest}
  defp atom("$" <> rest, _flags), do: {[{:anchor, :line_end}], rest}
  defp atom("\\A" <> rest, _flags), do: {[{:anchor, :start}], rest}
  defp atom("\\z" <> rest, _flags), do: {[{:anchor, :end}], rest}
  defp atom("\\Z" <> rest, _flags), do: {[{:anchor, :last_line}], rest}

  defp atom("\\b" <> rest, _flags),
    do: {[{:anchor, {:boundary, false, CharacterSet.new(CharacterSet.word(:alone))}}], rest}

  defp atom("\\B" <> rest, _flags),
    do: {[{:anchor, {:boundary, true, CharacterSet.new(CharacterSet.word(:alone))}}], rest}

  defp atom("\\R" <> rest, _flags) do
    {[
       {:atomic,
        [
          Choice.new([
            literal("\r\n"),
            [set_of({:any, [{:range, 0x0A, 0x0D}, {:range, 0x85, 0x85}, {:range, 0x2028, 0x2029}]})]
          ])
        ]}
     ], rest}
  end

  defp atom("\\" <> rest, flags), do: ClassParser.escape(rest) |> set(flags)
  defp atom(<<space, rest::binary>>, %{extended: true}) when space in ~c" \t\n\r\f\v", do: {:skip, rest}

  defp atom("#" <> rest, %{extended: true}) do
    {:skip, rest |> :binary.split("\n") |> Enum.at(1, "")}
  end

  defp atom(<<code, _rest::binary>>, _flags) when code in ~c"*+?", do: wrong("nothing stands before #{<<code>>}")
  defp atom(<<code::utf8, rest::binary>>, flags), do: set({{:range, code, code}, rest}, flags)

  defp literal(text), do: for(<<code::utf8 <- text>>, do: set_of({:range, code, code}))

  defp set({definition, rest}, %{fold: true}), do: {[set_of({:fold, definition})], rest}
  defp set({definition, rest}, _flags), do: {[set_of(definition)], rest}
  defp set_of(definition), do: {:set, CharacterSet.new(definition)}

  defp group(source, flags, make) do
    case branches(source, %{flags | depth: flags.depth + 1}) do
      {nodes, ")" <> rest} -> {make.(nodes), rest}
      {_nodes, _end} -> wrong("a ( has no )")
    end
  end

  defp switch(flags, letters, value) do
    for <<letter <- letters>>, reduce: flags do
      flags -> Map.put(flags, %{?i => :fold, ?m => :dot_all, ?x => :extended}[letter], value)
    end
  end

  # Quantifiers

  defp quantified(atom, source) do
    case quantifier(source) do
      nil ->
        {plain(atom), source}

      {min, max, rest} ->
        {mode, rest} = mode(rest, source)
        {node, rest} = {repeat(atom, min, max, mode), rest}
        quantified(node, rest)
    end
  end

  defp quantifier("*" <> rest), do: {0, :infinity, rest}
  defp quantifier("+" <> rest), do: {1, :infinity, rest}
  defp quantifier("?" <> rest), do: {0, 1, rest}

  defp quantifier("{" <> _rest = source) do
    case Regex.run(~r/\A\{(\d*)(,?)(\d*)\}/, source) do
      [all, min, comma, max] when min != "" or max != "" ->
        min_count = number(min, 0)
        max_count = if comma == "", do: min_count, else: number(max, :infinity)
        if max_count < min_count, do: wrong("#{all} has more at least than at most")
        {min_count, max_count, binary_part(source, byte_size(all), byte_size(source) - byte_size(all))}

      _literal ->
        nil
    end
  end

  defp quantifier(_rest), do: nil

  defp number("", default), do: default

  defp number(digits, _default) do
    if byte_size(digits) > 6 or String.to_integer(digits) > @most_repeats,
      do: wrong("it repeats more than #{@most_repeats} times")

    String.to_integer(digits)
  end

  # Behind `{n,m}`, a plus repeats once more; `{n}?` takes it or leaves it.
  defp mode("?" <> rest, "{" <> _ = source), do: if(exact?(source), do: {:greedy, "?" <> rest}, else: {:lazy, rest})
  defp mode("?" <> rest, _source), do: {:lazy, rest}
  defp mode("+" <> rest, <<quantifier, _::binary>>) when quantifier != ?{, do: {:possessive, rest}
  defp mode(rest, _source), do: {:greedy, rest}

  defp exact?(source), do: Regex.match?(~r/\A\{\d+\}/, source)

  defp repeat([{:set, set}], min, max, mode), do: [{:many, set, min, max, mode}]
  defp repeat(atom, min, max, :possessive), do: [{:atomic, [{:repeat, plain(atom), min, max, :greedy}]}]
  defp repeat(atom, min, max, mode), do: [{:repeat, plain(atom), min, max, mode}]

  defp plain([{:group, nodes}]), do: nodes
  defp plain(nodes), do: nodes
end
