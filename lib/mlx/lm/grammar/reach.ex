defmodule Mlx.LM.Grammar.Reach do
  @moduledoc false
  # What the tokens below some nodes of the vocabulary's tree do to one state, whatever its stack is: which of them stay in
  # its rule to their last byte, at which nodes the rule may return with more bytes to come, and at which nodes it calls rules.
  #
  # A counted state is walked once without its counters; how many texts each token needs then gives the tokens for any counters.

  import Bitwise

  alias Mlx.LM.Grammar.{Bits, Cache, Program, Stacks, Vocabulary}

  @type nodes :: [non_neg_integer()]
  @type t :: {tokens :: Bits.t(), returns :: nodes(), calls :: [{Program.call(), nodes()}]}

  @doc "What the tokens below nodes do to a state."
  @spec of(map(), Program.state(), nodes()) :: t()
  def of(compiled, {state, first, low, high}, nodes) do
    walked = cached(compiled, {:counted, state, nodes}, fn -> counted(compiled, {state, first}, nodes) end)
    {most, tokens, returns} = walked
    {low, high} = {min(low, most + 1), if(high == :infinity, do: most, else: min(high, most))}

    cached(compiled, {state, low, high, nodes}, fn ->
      bits = for {needed, bits} <- tokens, needed <= high, reduce: 0, do: (all -> all ||| bits)
      {bits, Enum.sort(for {count, nodes} <- returns, count >= low, count <= high, node <- nodes, do: node), []}
    end)
  end

  def of(compiled, state, nodes), do: cached(compiled, {state, nodes}, fn -> plain(compiled, state, nodes) end)

  defp cached(compiled, key, compute), do: Cache.fetch({compiled.key, key}, &size/1, compute)

  defp size({bits, returns, calls}) when is_integer(bits),
    do: Bits.bytes(bits) + 16 * length(returns) + Enum.sum_by(calls, fn {_call, nodes} -> 64 + 16 * length(nodes) end)

  defp size({_most, tokens, returns}) do
    Enum.sum_by(tokens, fn {_needed, bits} -> Bits.bytes(bits) end) +
      Enum.sum_by(returns, fn {_count, nodes} -> 16 * length(nodes) end)
  end

  defp plain(%{program: program, vocabulary: vocabulary}, state, nodes) do
    tables = {vocabulary.nodes, program.next, program.classes, program.width, program.flags}

    {tokens, returns, called} =
      Enum.reduce(nodes, {[], [], []}, fn node, found ->
        {_byte, last, _token} = Vocabulary.node(vocabulary, node)
        walk(tables, node + 1, last, state, found)
      end)

    calls =
      called
      |> Enum.flat_map(fn {node, state} -> for call <- Program.calls(program, state), do: {call, node} end)
      |> Enum.group_by(&elem(&1, 0), &elem(&1, 1))
      |> Enum.map(fn {call, nodes} -> {call, Enum.sort(nodes)} end)

    {bits(vocabulary, nodes, tokens), Enum.sort(returns), calls}
  end

  # The loop over the nodes from one to before another, all of which follow the same state.
  defp walk(tables, at, last, state, found) when at < last do
    {nodes, next, classes, width, flags} = tables
    skipped = 9 * at
    <<_::binary-size(^skipped), byte, behind::32, token::32, _::binary>> = nodes
    skipped = 4 * (state * width + :binary.at(classes, byte))

    case next do
      <<_::binary-size(^skipped), 0::32, _::binary>> ->
        walk(tables, behind, last, state, found)

      <<_::binary-size(^skipped), target::32, _::binary>> ->
        {tokens, returns, calls} = found
        tokens = if token == 0, do: tokens, else: [token - 1 | tokens]

        if behind == at + 1 do
          walk(tables, behind, last, state, {tokens, returns, calls})
        else
          flag = :binary.at(flags, target)
          returns = if (flag &&& 1) == 0, do: returns, else: [at | returns]
          calls = if (flag &&& 2) == 0, do: calls, else: [{at, target} | calls]
          found = walk(tables, at + 1, behind, target, {tokens, returns, calls})
          walk(tables, behind, last, state, found)
        end
    end
  end

  defp walk(_tables, _at, _last, _state, found), do: found

  # The most texts that a token needs, the tokens by the texts that they need, and the nodes by the texts before them.
  #
  # What follows a counted rule begins with no byte of its texts, so that it returns where a node goes on with another byte.
  defp counted(%{program: program, vocabulary: vocabulary}, {state, first}, nodes) do
    {tokens, returns} =
      Enum.reduce(nodes, {[], []}, fn node, found ->
        {_byte, last, _token} = Vocabulary.node(vocabulary, node)
        count({program, vocabulary, first}, node + 1, last, {state, 0, node}, found)
      end)

    tokens = Enum.group_by(tokens, &elem(&1, 0), &elem(&1, 1))
    returns = returns |> Enum.uniq() |> Enum.group_by(&elem(&1, 0), &elem(&1, 1))

    {Enum.max(Map.keys(tokens) ++ Map.keys(returns), fn -> 0 end),
     for({needed, ids} <- tokens, do: {needed, bits(vocabulary, nodes, ids)}), Enum.to_list(returns)}
  end

  defp count({program, vocabulary, first} = tables, at, last, {state, done, above} = from, found) when at < last do
    {byte, behind, token} = Vocabulary.node(vocabulary, at)
    {tokens, returns} = found

    case Program.next(program, state, byte) do
      0 when state == first and done > 0 ->
        count(tables, behind, last, from, {tokens, [{done, above} | returns]})

      0 ->
        count(tables, behind, last, from, found)

      target ->
        complete = Program.accepting?(program, target)
        {target, through} = if complete, do: {first, done + 1}, else: {target, done}
        tokens = if token == 0, do: tokens, else: [{if(complete, do: through, else: done + 1), token - 1} | tokens]
        found = count(tables, at + 1, behind, {target, through, at}, {tokens, returns})
        count(tables, behind, last, from, found)
    end
  end

  defp count(_tables, _at, _last, _from, found), do: found

  @doc "The set of tokens below nodes, with those of the same bytes."
  @spec bits(Vocabulary.t(), nodes(), [non_neg_integer()]) :: Bits.t()
  def bits(%{same: same}, _nodes, ids) when same == %{}, do: Bits.new(ids)

  def bits(%{same: same, start: start}, nodes, ids) do
    at_start = start > 0 and match?([node | _] when node >= start, nodes)

    ids
    |> Enum.flat_map(fn id ->
      case same do
        %{{:start, ^id} => all} when at_start -> all
        %{^id => all} when not at_start -> all
        _one -> [id]
      end
    end)
    |> Bits.new()
  end

  @doc false
  # The tokens below a node, by the steps of all items at once: the slow way, for grammars with very many readings.
  @spec by_steps(map(), Stacks.t(), non_neg_integer()) :: Bits.t()
  def by_steps(%{program: program, vocabulary: vocabulary}, items, node) do
    {_byte, last, _token} = Vocabulary.node(vocabulary, node)
    bits(vocabulary, [node], steps({program, vocabulary}, node + 1, last, items, []))
  end

  defp steps({program, vocabulary} = tables, at, last, items, tokens) when at < last do
    {byte, behind, token} = Vocabulary.node(vocabulary, at)

    case Stacks.step(items, byte, program) do
      [] ->
        steps(tables, behind, last, items, tokens)

      next ->
        tokens = if token == 0, do: tokens, else: [token - 1 | tokens]
        steps(tables, behind, last, items, steps(tables, at + 1, behind, next, tokens))
    end
  end

  defp steps(_tables, _at, _last, _items, tokens), do: tokens
end
