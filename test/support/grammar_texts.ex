defmodule Mlx.GrammarTexts do
  @moduledoc """
  Texts of grammars without a model: tokens drawn at random from those that may come, and the judgement of Python.
  """

  import Bitwise

  alias Mlx.LM.Grammar
  alias Mlx.LM.Grammar.Stacks

  @script Path.expand("../oracle/json_schema.py", __DIR__)

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

  # What is rare among tokens is not rare here: a first byte is drawn before a token.
  defp choose(state, most) do
    allowed = Grammar.allowed(state)
    ends = Enum.filter(allowed, &(&1 in state.end_ids))

    cond do
      ends != [] and (most == 0 or :rand.uniform(8) == 1) ->
        hd(ends)

      most == 0 ->
        shortest(allowed, state)

      true ->
        allowed |> Enum.group_by(&first_byte(&1, state)) |> Map.values() |> Enum.random() |> Enum.random()
    end
  end

  defp first_byte(id, state) do
    if id in state.end_ids,
      do: nil,
      else: state.compiled.vocabulary |> Grammar.Vocabulary.bytes(id, state.first) |> :binary.first()
  end

  # Quotes and brackets come before what opens more of them.
  defp shortest(allowed, state) do
    bytes = &Grammar.Vocabulary.bytes(state.compiled.vocabulary, &1, state.first)
    single = Enum.filter(allowed, &(byte_size(bytes.(&1)) == 1))
    closing = Enum.find(single, &(bytes.(&1) in ["}", "]", "\""]))
    closing || Enum.random(if(single == [], do: allowed, else: single))
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

  @doc "The set of tokens that may come, by the steps of each token's bytes."
  def by_bytes(state, ids) do
    %{compiled: %{program: program, vocabulary: vocabulary}} = state

    for id <- ids, reduce: 0 do
      set ->
        bytes = Grammar.Vocabulary.bytes(vocabulary, id, state.first)
        items = for <<byte <- bytes>>, reduce: state.items, do: (items -> Stacks.step(items, byte, program))
        if bytes != "" and items != [], do: set ||| 1 <<< id, else: set
    end
  end
end
