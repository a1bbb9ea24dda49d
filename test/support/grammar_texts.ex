defmodule Mlx.GrammarTexts do
  @moduledoc """
  Texts of grammars without a model: tokens drawn at random from those that may come, and the judgement of Python.
  """

  import Bitwise

  alias Mlx.LM.Grammar
  alias Mlx.LM.Grammar.Stacks

  @script Path.expand("../oracle/json_schema.py", __DIR__)
  @schemas Path.expand("../mlx/lm/grammar/schemas.jsonl", __DIR__)

  @doc "The texts of 100 schemas of the kind that people write."
  def written, do: @schemas |> File.read!() |> String.split("\n", trim: true)

  @doc """
  A text of tokens drawn from those that a grammar lets come, with whether it came to an end. After `most` tokens the end is
  taken as soon as it may come, and a token of one byte otherwise.
  """
  def draw(compiled, most) do
    text(Grammar.start(compiled), most, 8 * most, [])
  end

  defp text(_state, _most, 0, bytes), do: {:cut, IO.iodata_to_binary(Enum.reverse(bytes))}

  defp text(state, most, left, bytes) do
    id = choose(state, most)

    if id in state.end_ids do
      {:done, bytes |> Enum.reverse() |> IO.iodata_to_binary()}
    else
      token = Grammar.Vocabulary.bytes(state.compiled.vocabulary, id, state.first)
      text(Grammar.accept(state, id), max(most - 1, 0), left - 1, [token | bytes])
    end
  end

  # Tokens of one byte are as frequent as all others together, so that what is rare among tokens is not rare here.
  defp choose(state, most) do
    mask = Grammar.mask(state)
    ends = Enum.filter(state.end_ids, &(&1 in state.end_ids and allowed?(mask, &1)))
    single = Enum.filter(single(state.compiled.vocabulary), fn {_byte, id} -> allowed?(mask, id) end)

    cond do
      ends != [] and (most == 0 or :rand.uniform(8) == 1) -> hd(ends)
      most == 0 -> shortest(single, state)
      single != [] and :rand.uniform(2) == 1 -> single |> Enum.random() |> elem(1)
      true -> tried(mask, state, 60)
    end
  end

  defp tried(_mask, state, 0), do: state |> Grammar.allowed() |> Enum.random()

  defp tried(mask, state, left) do
    id = :rand.uniform(state.compiled.vocabulary.size) - 1
    if allowed?(mask, id), do: id, else: tried(mask, state, left - 1)
  end

  defp allowed?(mask, id) when div(id, 8) < byte_size(mask), do: (:binary.at(mask, id >>> 3) >>> (id &&& 7) &&& 1) == 1
  defp allowed?(_mask, _id), do: false

  # The tokens of one byte.
  defp single(vocabulary) do
    Process.get({__MODULE__, vocabulary.key}) ||
      tap(
        for(
          id <- 0..(vocabulary.size - 1),
          <<byte>> <- [Grammar.Vocabulary.bytes(vocabulary, id, false)],
          do: {byte, id}
        ),
        &Process.put({__MODULE__, vocabulary.key}, &1)
      )
  end

  # Quotes and brackets come before what opens more of them.
  defp shortest([], state), do: state |> Grammar.allowed() |> Enum.random()

  defp shortest(single, _state) do
    {_byte, id} = Enum.find_value(~c"\"}]", &List.keyfind(single, &1, 0)) || Enum.random(single)
    id
  end

  @doc "What Python says of texts: the problems, of cases `%{schema: schema, texts: texts}` or `%{regex: pattern, texts: texts}`."
  def problems(cases, folder) do
    path = Path.join(folder, "cases.jsonl")
    File.write!(path, Enum.map(cases, &[JSON.encode!(&1), "\n"]))
    {output, 0} = System.cmd(System.fetch_env!("MLX_ORACLE_PYTHON"), [@script, path])
    {lines, [count]} = output |> String.split("\n", trim: true) |> Enum.split(-1)
    expected = cases |> Enum.map(&length(&1.texts)) |> Enum.sum()
    ^expected = String.to_integer(count)
    lines
  end

  @doc "The tokens that may come, by the steps of each token's bytes, in their order."
  def by_bytes(state, ids) do
    %{compiled: %{program: program, vocabulary: vocabulary}} = state

    for id <- Enum.sort(ids),
        bytes = Grammar.Vocabulary.bytes(vocabulary, id, state.first),
        bytes != "",
        for(<<byte <- bytes>>, reduce: state.items, do: (items -> Stacks.step(items, byte, program))) != [],
        do: id
  end

  @doc "The tokens that may come, by the sets of which masks are made, in their order."
  def by_masks(state), do: numbers(Grammar.Masks.sets(state.compiled, state.items, state.first))

  @doc "The tokens of sets, in their order."
  def numbers(sets) do
    sets
    |> Enum.flat_map(fn
      {:ids, ids} ->
        for <<id::32-little <- ids>>, do: id

      words ->
        for {byte, place} <- Enum.with_index(:binary.bin_to_list(words)),
            byte > 0,
            bit <- 0..7,
            (byte >>> bit &&& 1) == 1 do
          8 * place + bit
        end
    end)
    |> Enum.sort()
    |> Enum.dedup()
  end
end
