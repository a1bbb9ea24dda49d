defmodule Mlx.LM.Grammar.Reach do
  @moduledoc false
  # What the tokens below some nodes of the vocabulary's tree do to one state, whatever its stack is: which of them stay in
  # its rule to their last byte, at which nodes the rule may return with more bytes to come, and at which nodes it calls rules.
  #
  # Native code walks over the tree. A counted state is walked once without its counters; how many texts each token needs then
  # gives the tokens for any counters.

  alias Mlx.LM.Grammar.{Cache, Kinds, Program, Stacks, TokenSet, Tree, Vocabulary}
  alias Mlx.Native

  @typedoc "Numbers of nodes of 32 bits, little-endian."
  @type nodes :: binary()
  @type t :: {tokens :: TokenSet.t(), returns :: nodes(), calls :: [{Program.call(), nodes()}]}

  @doc "What the tokens below nodes do to a state."
  @spec of(map(), Program.state(), nodes()) :: t()
  def of(compiled, {state, first, low, high}, nodes) do
    walked = cached(compiled, {:counted, state, nodes}, fn -> counted(compiled, {state, first}, nodes) end)
    {most, _characters, _tokens, _returns} = walked
    {low, high} = {min(low, most + 1), if(high == :infinity, do: most, else: min(high, most))}
    cached(compiled, {state, low, high, nodes}, fn -> within(compiled, walked, nodes, low, high) end)
  end

  def of(compiled, state, nodes), do: cached(compiled, {state, nodes}, fn -> plain(compiled, state, nodes) end)

  defp cached(compiled, key, compute), do: Cache.fetch({compiled.key, key}, &size/1, compute)

  defp size({tokens, returns, calls}),
    do: TokenSet.bytes(tokens) + byte_size(returns) + Enum.sum_by(calls, fn {_call, nodes} -> 64 + byte_size(nodes) end)

  defp size({_most, characters, tokens, returns}) do
    TokenSet.bytes(characters) + Enum.sum_by(tokens, fn {_needed, set} -> 32 + TokenSet.bytes(set) end) +
      Enum.sum_by(returns, fn {_count, nodes} -> 32 + byte_size(nodes) end)
  end

  defp plain(%{program: program, vocabulary: vocabulary}, state, nodes) do
    {tokens, returns, called} =
      Native.grammar_reach(
        Vocabulary.tables(vocabulary),
        Program.tables(program),
        state,
        nodes,
        all(vocabulary, nodes)
      )

    calls =
      for({state, nodes} <- called, call <- Program.calls(program, state), do: {call, nodes})
      |> Enum.group_by(&elem(&1, 0), &elem(&1, 1))
      |> Enum.map(fn {call, nodes} -> {call, IO.iodata_to_binary(nodes)} end)

    {tokens, returns, calls}
  end

  # Of a root the words of all its tokens.
  defp all(%{all: all}, <<node::32-little>>), do: Map.get(all, node)
  defp all(_vocabulary, _nodes), do: nil

  defp root(<<root::32-little>>), do: root

  # The most texts that a token needs, the tokens that need as many as they have characters, the other tokens by the texts that
  # they need, and the nodes by the texts before them.
  defp counted(%{program: program, vocabulary: vocabulary}, {state, first}, nodes) do
    all = all(vocabulary, nodes)
    # Where the texts are characters, those of whole branches of the tree are counted already.
    kept = if state == first and all != nil, do: Kinds.counted(program, first), else: 0

    {characters, tokens, returns} =
      Native.grammar_count(
        Vocabulary.tables(vocabulary),
        Program.tables(program),
        {state, first, kept},
        nodes,
        all
      )

    longest = if characters == TokenSet.none(), do: 0, else: Vocabulary.longest(vocabulary, root(nodes))
    most = Enum.max(for({count, _tokens_or_nodes} <- tokens ++ returns, do: count) ++ [longest])
    {most, characters, tokens, returns}
  end

  # What that is where at least `low` and at most `high` texts are left.
  defp within(%{vocabulary: vocabulary}, {_most, characters, tokens, returns}, nodes, low, high) do
    others = for {needed, set} <- tokens, needed <= high, do: set
    sets = if characters == TokenSet.none(), do: others, else: [shorter(vocabulary, characters, nodes, high) | others]
    returns = for {count, nodes} <- returns, count >= low, count <= high, into: <<>>, do: nodes
    {TokenSet.union(sets, vocabulary.words), returns, []}
  end

  defp shorter(vocabulary, characters, nodes, most) do
    case Vocabulary.longer(vocabulary, root(nodes), most) do
      {:ids, <<>>} -> characters
      longer -> TokenSet.words([characters], longer, vocabulary.words) || TokenSet.none()
    end
  end

  @doc false
  # The tokens below a node, by the steps of all items at once: the slow way, for grammars with very many readings.
  @spec by_steps(map(), Stacks.t(), non_neg_integer()) :: TokenSet.t()
  def by_steps(%{program: program, vocabulary: vocabulary}, items, node) do
    {_byte, last, _kinds, _count} = Tree.node(vocabulary.tree, node)
    runs = steps({program, vocabulary.tree}, node + 1, last, items, [])
    TokenSet.union([TokenSet.new(Tree.tokens(vocabulary.tree, runs))], vocabulary.words)
  end

  defp steps({program, tree} = tables, at, last, items, runs) when at < last do
    {byte, behind, _kinds, count} = Tree.node(tree, at)

    case Stacks.step(items, byte, program) do
      [] ->
        steps(tables, behind, last, items, runs)

      next ->
        runs = [{count, Tree.before(tree, at + 1)} | runs]
        steps(tables, behind, last, items, steps(tables, at + 1, behind, next, runs))
    end
  end

  defp steps(_tables, _at, _last, _items, runs), do: runs
end
