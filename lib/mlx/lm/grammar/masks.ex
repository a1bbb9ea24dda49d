defmodule Mlx.LM.Grammar.Masks do
  @moduledoc false
  # The tokens that fit behind a text: those that each item's state takes whatever its stack is, which are known once they
  # were looked for, and those whose bytes go on behind the end of a rule, in the states that its stack returns to.

  alias Mlx.LM.Grammar.{Cache, Program, Reach, Stacks, TokenSet}

  # How many states with stacks may be looked at before all items go through the vocabulary at once.
  @visits 4000

  @doc "The tokens that fit as words of bits, or nil where there are none; `ends` are those that end the text."
  @spec words(map(), Stacks.t(), boolean(), TokenSet.t()) :: TokenSet.words() | nil
  def words(compiled, items, start, ends) do
    Cache.fetch({compiled.key, :words, start, Stacks.keys(items), ends}, &byte_size(&1 || <<>>), fn ->
      sets = sets(compiled, items, start)
      count = count(compiled, ends)

      if Stacks.end?(items),
        do: TokenSet.words([ends | sets], TokenSet.none(), count),
        else: TokenSet.words(sets, ends, count) || dead_end!()
    end)
  end

  @doc "Words in which no token fits."
  @spec none(map(), TokenSet.t()) :: TokenSet.words()
  def none(compiled, ends), do: :binary.copy(<<0::32>>, count(compiled, ends))

  defp count(compiled, ends), do: max(compiled.vocabulary.words, TokenSet.least_words(ends))

  @spec dead_end!() :: no_return()
  defp dead_end!() do
    raise Mlx.Error,
          "Mlx.LM.Grammar.mask: no token of the vocabulary goes on with the text, which may not end here: the vocabulary has " <>
            "bytes within tokens for which it has no token; use a grammar of characters that have tokens of their own"
  end

  @doc "Sets of the tokens that fit."
  @spec sets(map(), Stacks.t(), boolean()) :: [TokenSet.t()]
  def sets(%{vocabulary: vocabulary} = compiled, items, start) do
    node = if start, do: vocabulary.start, else: vocabulary.inside

    try do
      {sets, _visits} = Enum.reduce(items, {[], 0}, &visit(compiled, &1, <<node::32-little>>, true, &2))
      sets
    catch
      :too_many_visits -> [Reach.by_steps(compiled, items, node)]
    end
  end

  defp visit(_compiled, _item, _nodes, _called, {_sets, visits}) when visits > @visits, do: throw(:too_many_visits)
  defp visit(_compiled, {0, _stack}, _nodes, _called, found), do: found

  # `called` says whether the rules that the state calls are items of their own already.
  defp visit(compiled, {state, {_key, callers} = stack}, nodes, called, {sets, visits}) do
    %{program: program} = compiled
    {tokens, returns, calls} = Reach.of(compiled, state, nodes)
    found = {[tokens | sets], visits + 1}

    found =
      if returns == <<>> do
        found
      else
        callers |> Stacks.returned(program) |> Enum.reduce(found, &visit(compiled, &1, returns, false, &2))
      end

    here = if called or is_tuple(state), do: [], else: for(call <- Program.calls(program, state), do: {call, nodes})

    Enum.reduce(here ++ calls, found, fn {{_rank, first, target}, nodes}, found ->
      visit(compiled, {first, Stacks.pushed(target, stack, program)}, nodes, false, found)
    end)
  end
end
