defmodule Mlx.LM.Grammar.Reach do
  @moduledoc false
  # What the tokens below some nodes of the vocabulary's tree do to one state, whatever its stack is: which of them stay in
  # its rule to their last byte, at which nodes the rule may return with more bytes to come, and at which nodes it calls rules.
  #
  # A counted state is walked once without its counters; how many texts each token needs then gives the tokens for any counters.

  import Bitwise

  alias Mlx.LM.Grammar.{Bits, Cache, Kinds, Program, Stacks, Tree, Vocabulary}

  @record Tree.record()

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

  # Each node with fewer below it is looked at.
  @few 8

  defp plain(%{program: program, vocabulary: vocabulary}, state, nodes) do
    tables = {vocabulary.tree.nodes, program.next, program.classes, program.width, program.flags, program}

    {bits, returns, called, _kept} =
      Enum.reduce(nodes, {0, [], [], %{}}, fn node, {bits, returns, calls, kept} ->
        {_byte, last, _token, _kinds, _count} = Tree.node(vocabulary.tree, node)
        {runs, returns, calls, kept} = walk(tables, node + 1, last, state, {[], returns, calls, kept})
        {bits ||| Vocabulary.of_runs(vocabulary, node, runs), returns, calls, kept}
      end)

    calls =
      called
      |> Enum.flat_map(fn {node, state} -> for call <- Program.calls(program, state), do: {call, node} end)
      |> Enum.group_by(&elem(&1, 0), &elem(&1, 1))
      |> Enum.map(fn {call, nodes} -> {call, Enum.sort(nodes)} end)

    {bits, Enum.sort(returns), calls}
  end

  # The loop over the nodes from one to before another, all of which follow the same state. `kept` has of the states that were
  # asked for the kinds of bytes on which they stay.
  defp walk(tables, at, last, state, found) when at < last do
    {nodes, next, classes, width, flags, program} = tables
    skipped = @record * at
    <<_::binary-size(^skipped), byte, behind::32, token::32, kinds::64, count::32, _::binary>> = nodes
    skipped = 4 * (state * width + :binary.at(classes, byte))

    case next do
      <<_::binary-size(^skipped), 0::32, _::binary>> ->
        walk(tables, behind, last, state, found)

      <<_::binary-size(^skipped), target::32, _::binary>> ->
        {runs, returns, calls, kept} = found
        kept = if behind - at < @few or is_map_key(kept, target), do: kept, else: put_kept(kept, target, program)

        cond do
          behind == at + 1 ->
            walk(tables, behind, last, state, {Tree.put(runs, {count, count + 1}), returns, calls, kept})

          behind - at >= @few and (kinds &&& Map.fetch!(kept, target)) == kinds ->
            skipped = @record * behind + @record - 4
            <<_::binary-size(^skipped), after_all::32, _::binary>> = nodes
            walk(tables, behind, last, state, {Tree.put(runs, {count, after_all}), returns, calls, kept})

          true ->
            runs = if token == 0, do: runs, else: Tree.put(runs, {count, count + 1})
            flag = :binary.at(flags, target)
            returns = if (flag &&& 1) == 0, do: returns, else: [at | returns]
            calls = if (flag &&& 2) == 0, do: calls, else: [{at, target} | calls]
            found = walk(tables, at + 1, behind, target, {runs, returns, calls, kept})
            walk(tables, behind, last, state, found)
        end
    end
  end

  defp walk(_tables, _at, _last, _state, found), do: found

  defp put_kept(kept, state, program), do: Map.put(kept, state, Kinds.kept(program, state, :plain))

  # The most texts that a token needs, the tokens by the texts that they need, and the nodes by the texts before them.
  #
  # What follows a counted rule begins with no byte of its texts, so that it returns where a node goes on with another byte.
  defp counted(%{program: program, vocabulary: vocabulary}, {state, first}, nodes) do
    # Where the texts are characters, those of whole branches of the tree are counted already.
    whole? = state == first and match?([_node], nodes) and is_map_key(vocabulary.all, hd(nodes))
    kept = if whole?, do: Kinds.kept(program, first, :counted), else: 0

    {runs, tokens, returns} =
      Enum.reduce(nodes, {[], [], []}, fn node, found ->
        {_byte, last, _token, _kinds, _count} = Tree.node(vocabulary.tree, node)
        count({program, vocabulary.tree, first, kept}, node + 1, last, {state, 0, node, 0}, found)
      end)

    tokens = Enum.group_by(tokens, &elem(&1, 0), &elem(&1, 1))
    tokens = for {needed, ids} <- tokens, do: {needed, Vocabulary.bits(vocabulary, hd(nodes), ids)}
    tokens = if runs == [], do: tokens, else: Enum.reduce(of_length(vocabulary, hd(nodes), runs), tokens, &put/2)
    returns = returns |> Enum.uniq() |> Enum.group_by(&elem(&1, 0), &elem(&1, 1))
    {Enum.max(Enum.map(tokens, &elem(&1, 0)) ++ Map.keys(returns), fn -> 0 end), tokens, Enum.to_list(returns)}
  end

  defp put({needed, bits}, tokens), do: List.keystore(tokens, needed, 0, {needed, bits ||| found(tokens, needed)})

  defp found(tokens, needed) do
    with {_needed, bits} <- List.keyfind(tokens, needed, 0, 0), do: bits
  end

  # The tokens of runs by how many characters they have.
  defp of_length(vocabulary, root, runs) do
    bits = Vocabulary.of_runs(vocabulary, root, runs)

    lengths =
      Cache.fetch({vocabulary.key, :lengths, root}, &Enum.sum_by(&1, fn {_n, bits} -> Bits.bytes(bits) end), fn ->
        by_length = Tree.by_length(vocabulary.tree, Tree.run(vocabulary.tree, root))
        for {length, ids} <- by_length, do: {length, Vocabulary.bits(vocabulary, root, ids)}
      end)

    for {length, all} <- lengths, here = all &&& bits, here != 0, do: {length, here}
  end

  # `done` counts the texts so far, and `characters` the characters of the bytes so far.
  defp count({program, tree, first, kept} = tables, at, last, {state, done, above, characters} = from, found)
       when at < last do
    {byte, behind, token, kinds, count} = Tree.node(tree, at)
    {runs, tokens, returns} = found

    case Program.next(program, state, byte) do
      0 when state == first and done > 0 ->
        count(tables, behind, last, from, {runs, tokens, [{done, above} | returns]})

      0 ->
        count(tables, behind, last, from, found)

      target ->
        complete = Program.accepting?(program, target)
        {target, through} = if complete, do: {first, done + 1}, else: {target, done}
        characters = if byte in 0x80..0xBF, do: characters, else: characters + 1

        if complete and through == characters and kept != 0 and (kinds &&& kept) == kinds do
          found = {Tree.put(runs, {count, Tree.before(tree, behind)}), tokens, returns}
          count(tables, behind, last, from, found)
        else
          tokens = if token == 0, do: tokens, else: [{if(complete, do: through, else: done + 1), token - 1} | tokens]
          found = count(tables, at + 1, behind, {target, through, at, characters}, {runs, tokens, returns})
          count(tables, behind, last, from, found)
        end
    end
  end

  defp count(_tables, _at, _last, _from, found), do: found

  @doc false
  # The tokens below a node, by the steps of all items at once: the slow way, for grammars with very many readings.
  @spec by_steps(map(), Stacks.t(), non_neg_integer()) :: Bits.t()
  def by_steps(%{program: program, vocabulary: vocabulary}, items, node) do
    {_byte, last, _token, _kinds, _count} = Tree.node(vocabulary.tree, node)
    Vocabulary.bits(vocabulary, node, steps({program, vocabulary.tree}, node + 1, last, items, []))
  end

  defp steps({program, tree} = tables, at, last, items, tokens) when at < last do
    {byte, behind, token, _kinds, _count} = Tree.node(tree, at)

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
