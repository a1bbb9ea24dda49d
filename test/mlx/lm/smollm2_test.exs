defmodule Mlx.LM.SmolLM2Test do
  use ExUnit.Case, async: true

  @moduletag :model
  @moduletag timeout: 900_000

  @script Path.expand("../../oracle/llama.py", __DIR__)
  @tokens 32

  @prompts [
    "What is the capital of France?",
    "Write a Python function that reverses a string.",
    "Erkläre mir, warum der Himmel blau ist 🌍.",
    "List three animals that can fly.",
    "One morning a small robot found a key in the snow. What did it open?"
  ]

  setup_all do
    path = System.fetch_env!("MLX_TEST_MODEL")
    %{path: path, lm: Mlx.LM.load(path)}
  end

  defp messages(text), do: [%{role: "user", content: text}]

  # The greedy tokens, without a stop at end tokens.
  defp greedy(lm, ids, count) do
    endless = %{lm | tokenizer: %{lm.tokenizer | end_ids: MapSet.new()}}
    Mlx.LM.generate(endless, ids, max_tokens: count).ids
  end

  test "answers a question", %{lm: lm} do
    response = Mlx.LM.generate(lm, messages("What is the capital of France?"))
    assert response.text =~ "Paris"
    assert response.finish_reason == :stop
  end

  # The reference keeps the weights quantized; here they are dense on a CPU. Both compute in f32.
  @tag :oracle
  test "the first #{@tokens} greedy tokens of each prompt are those of Python MLX", %{lm: lm, path: path} do
    prompts = for text <- @prompts, do: Mlx.LM.encode(lm, messages(text))
    arguments = [@script, path, "quantized", "#{@tokens}" | Enum.map(prompts, &Enum.join(&1, " "))]
    {output, 0} = System.cmd(System.fetch_env!("MLX_ORACLE_PYTHON"), arguments)

    expected =
      for line <- String.split(output, "\n", trim: true), do: line |> String.split() |> Enum.map(&String.to_integer/1)

    assert Enum.map(prompts, &greedy(lm, &1, @tokens)) == expected
  end

  test "quantized weights give the same tokens", %{lm: lm, path: path} do
    ids = Mlx.LM.encode(lm, "The sun rises in the")
    quantized = Mlx.LM.load(path, form: :quantized, type: :f32)
    assert greedy(quantized, ids, 8) == greedy(lm, ids, 8)
  end

  test "a conversation goes on from what was read", %{lm: lm} do
    question = messages("Name a colour.")
    first = Mlx.LM.generate(lm, question, max_tokens: 12)
    more = question ++ [%{role: "assistant", content: first.text}] ++ messages("Name another one.")
    fresh = Mlx.LM.generate(lm, more, max_tokens: 12)
    assert Mlx.LM.generate(lm, more, max_tokens: 12, context: first.context).ids == fresh.ids
  end

  @conversion Path.expand("../../oracle/conversion.py", __DIR__)
  @more_prompts [
    "Who wrote Hamlet?",
    "Count from 1 to 20.",
    "Explain photosynthesis in one sentence.",
    "Translate 'good morning' into Spanish, French and German.",
    "What is 17 * 23?"
  ]

  @tag :oracle
  @tag :tmp_dir
  test "as a GGUF file, as a folder, and as that folder in Python it writes the same 64 tokens", context do
    folder = Path.join(context.tmp_dir, "SmolLM2")
    # Python multiplies dense matrices four times as fast on a CPU.
    Mlx.LM.convert(context.path, folder, dequantize: true, type: :f32)
    converted = Mlx.LM.load(folder)
    prompts = for text <- @prompts ++ @more_prompts, do: Mlx.LM.encode(context.lm, messages(text))
    assert for(text <- @prompts ++ @more_prompts, do: Mlx.LM.encode(converted, messages(text))) == prompts

    expected = for ids <- prompts, do: greedy(context.lm, ids, 64)
    assert for(ids <- prompts, do: greedy(converted, ids, 64)) == expected

    arguments = [@conversion, "greedy", folder, "64" | Enum.map(prompts, &Enum.join(&1, " "))]
    {output, 0} = System.cmd(System.fetch_env!("MLX_ORACLE_PYTHON"), arguments)

    assert expected ==
             for(
               line <- String.split(output, "\n", trim: true),
               do: line |> String.split() |> Enum.map(&String.to_integer/1)
             )
  end
end
