defmodule Mlx.LM.Tokenizer.Pattern.Matcher do
  @moduledoc false
  # Matches the nodes of a regular expression at a place of a text, with backtracking.
  #
  # Nodes are tried in order, and what is left of them is what has to match behind. Each step of a loop is counted: a
  # pattern that takes far more steps than the text has bytes is stopped.

  import Bitwise
  import Mlx.LM.Tokenizer.CharacterSize

  alias Mlx.LM.Tokenizer.Pattern.{CharacterSet, Choice}

  # Shifted, bits that are all set stay so.
  @highest 1 <<< 55

  @type tree :: [tuple]

  @doc "Where the match that starts at `at` ends, or nil. `steps` counts down."
  @spec match(tree, binary, non_neg_integer, :counters.counters_ref()) :: non_neg_integer | nil
  def match([], _text, at, _steps), do: at

  def match([{:set, set} | rest], text, at, steps) do
    case next(text, at) do
      {code, size} -> if CharacterSet.member?(set, code), do: match(rest, text, at + size, steps)
      nil -> nil
    end
  end

  def match([{:many, set, min, max, mode} | rest], text, at, steps) do
    case many(set, text, at, min, steps) do
      nil -> nil
      from -> loop(mode, set, more(max, min), rest, text, from, steps)
    end
  end

  def match([{:choice, branches, table} | rest], text, at, steps) do
    first(branches, Choice.tried(table, byte(text, at)), rest, text, at, steps)
  end

  def match([{:repeat, _nodes, 0, 0, _mode} | rest], text, at, steps), do: match(rest, text, at, steps)

  def match([{:repeat, nodes, min, max, mode} | rest], text, at, steps) when min > 0 do
    step(steps, 1)
    match(nodes ++ [{:repeat, nodes, min - 1, more(max, 1), mode} | rest], text, at, steps)
  end

  def match([{:repeat, nodes, 0, max, :lazy} | rest], text, at, steps) do
    step(steps, 1)
    match(rest, text, at, steps) || again(nodes, max, :lazy, rest, text, at, steps)
  end

  def match([{:repeat, nodes, 0, max, mode} | rest], text, at, steps) do
    step(steps, 1)
    again(nodes, max, mode, rest, text, at, steps) || match(rest, text, at, steps)
  end

  # A round that took nothing ends the loop.
  def match([{:round, at, _repeat} | rest], text, at, steps), do: match(rest, text, at, steps)
  def match([{:round, _from, repeat} | rest], text, at, steps), do: match([repeat | rest], text, at, steps)

  def match([{:atomic, nodes} | rest], text, at, steps) do
    case match(nodes, text, at, steps) do
      nil -> nil
      at -> match(rest, text, at, steps)
    end
  end

  def match([{:ahead, negative, nodes} | rest], text, at, steps) do
    if match(nodes, text, at, steps) == nil == negative, do: match(rest, text, at, steps)
  end

  def match([{:behind, negative, branches} | rest], text, at, steps) do
    found =
      Enum.any?(branches, fn {nodes, width} ->
        from = back(text, at, width)
        from != nil and match(nodes ++ [{:at, at}], text, from, steps) != nil
      end)

    if found != negative, do: match(rest, text, at, steps)
  end

  def match([{:at, at} | rest], text, at, steps), do: match(rest, text, at, steps)
  def match([{:at, _other} | _rest], _text, _at, _steps), do: nil

  def match([{:anchor, kind} | rest], text, at, steps) do
    if anchor?(kind, text, at), do: match(rest, text, at, steps)
  end

  defp again(_nodes, 0, _mode, _rest, _text, _at, _steps), do: nil

  defp again(nodes, max, mode, rest, text, at, steps) do
    match(nodes ++ [{:round, at, {:repeat, nodes, 0, more(max, 1), mode}} | rest], text, at, steps)
  end

  defp more(:infinity, _taken), do: :infinity
  defp more(max, taken), do: max - taken

  # Branches whose bit is not set cannot match. A number of more branches than bits has all bits set.
  defp first([branch | branches], bits, rest, text, at, steps) when (bits &&& 1) == 1 do
    step(steps, 1)
    match(branch ++ rest, text, at, steps) || first(branches, bits >>> 1 ||| (bits &&& @highest), rest, text, at, steps)
  end

  defp first([_branch | branches], bits, rest, text, at, steps), do: first(branches, bits >>> 1, rest, text, at, steps)
  defp first([], _bits, _rest, _text, _at, _steps), do: nil

  defp byte(text, at), do: if(at < byte_size(text), do: :binary.at(text, at))

  # Loops over one set

  defp many(_set, _text, at, 0, _steps), do: at

  defp many(set, text, at, count, steps) do
    case next(text, at) do
      {code, size} ->
        step(steps, 1)
        if CharacterSet.member?(set, code), do: many(set, text, at + size, count - 1, steps)

      nil ->
        nil
    end
  end

  defp loop(:lazy, set, max, rest, text, at, steps) do
    step(steps, 1)

    with nil <- match(rest, text, at, steps),
         true <- max != 0,
         {code, size} <- next(text, at),
         true <- CharacterSet.member?(set, code) do
      loop(:lazy, set, more(max, 1), rest, text, at + size, steps)
    else
      nil -> nil
      false -> nil
      found -> found
    end
  end

  defp loop(mode, set, max, rest, text, from, steps) do
    <<_before::binary-size(from), tail::binary>> = text
    to = run(set, tail, from, max)
    step(steps, to - from + 1)

    case {rest, mode} do
      {[], _mode} -> to
      {_rest, :possessive} -> match(rest, text, to, steps)
      _other -> give_back(rest, text, from, to, steps)
    end
  end

  defp give_back(rest, text, from, to, steps) do
    case match(rest, text, to, steps) do
      nil when to > from ->
        step(steps, 1)
        give_back(rest, text, from, back(text, to, 1), steps)

      found_or_none ->
        found_or_none
    end
  end

  defp run(_set, _tail, at, 0), do: at

  defp run(set, <<code, tail::binary>>, at, max) when code < 128 do
    if CharacterSet.member?(set, code), do: run(set, tail, at + 1, more(max, 1)), else: at
  end

  defp run(set, <<code::utf8, tail::binary>>, at, max) do
    if CharacterSet.member?(set, code), do: run(set, tail, at + size(code), more(max, 1)), else: at
  end

  defp run(_set, _tail, at, _max), do: at

  # Characters

  @doc "The character at a place and its size, or nil at the end."
  @spec next(binary, non_neg_integer) :: {char, 1..4} | nil
  def next(text, at) do
    case text do
      <<_before::binary-size(at), code, _rest::binary>> when code < 128 -> {code, 1}
      <<_before::binary-size(at), code::utf8, _rest::binary>> -> {code, size(code)}
      _end -> nil
    end
  end

  # The place of a number of characters before.
  defp back(_text, at, 0), do: at
  defp back(_text, 0, _count), do: nil

  defp back(text, at, count) do
    if :binary.at(text, at - 1) in 0x80..0xBF, do: back(text, at - 1, count), else: back(text, at - 1, count - 1)
  end

  defp anchor?(:start, _text, at), do: at == 0
  defp anchor?(:end, text, at), do: at == byte_size(text)

  defp anchor?(:last_line, text, at),
    do: at == byte_size(text) or (at == byte_size(text) - 1 and :binary.last(text) == ?\n)

  defp anchor?(:line_start, text, at), do: at == 0 or (at < byte_size(text) and :binary.at(text, at - 1) == ?\n)
  defp anchor?(:line_end, text, at), do: at == byte_size(text) or :binary.at(text, at) == ?\n

  defp anchor?({:boundary, negative, word}, text, at),
    do: word?(text, back(text, at, 1), word) == word?(text, at, word) == negative

  defp word?(_text, nil, _word), do: false

  defp word?(text, at, word) do
    case next(text, at) do
      {code, _size} -> CharacterSet.member?(word, code)
      nil -> false
    end
  end

  defp step(steps, count) do
    :counters.sub(steps, 1, count)
    if :counters.get(steps, 1) < 0, do: throw(:too_many_steps)
  end
end
