defmodule Mlx.LM.Server.SmolLM2Test do
  use ExUnit.Case, async: true

  alias Mlx.LM.{Grammar, Server}

  @moduletag :model
  @moduletag timeout: 900_000

  @topics ["the capital of France", "a haiku about rain", "the number after seven", "how bread is made"]

  defp messages(topic), do: [%{role: "user", content: "Tell me in one sentence: #{topic}."}]

  test "requests at once have the answers that they have alone, and the next turn goes on from there" do
    lm = Mlx.LM.load(System.fetch_env!("MLX_TEST_MODEL"), type: :f32, form: :dense)
    requests = for {topic, number} <- Enum.with_index(@topics), do: {messages(topic), 8 + 5 * number}
    alone = for {messages, most} <- requests, do: Mlx.LM.generate(lm, messages, max_tokens: most)
    server = start_supervised!({Server, model: lm, prefill_step: 16})

    answers =
      requests
      |> Task.async_stream(fn {messages, most} -> Server.generate(server, messages, max_tokens: most) end,
        max_concurrency: length(requests),
        timeout: 600_000
      )
      |> Enum.map(fn {:ok, {:ok, response}} -> response end)

    for {answer, expected} <- Enum.zip(answers, alone) do
      assert {answer.ids, answer.text, answer.finish_reason} == {expected.ids, expected.text, expected.finish_reason}
    end

    {messages, _most} = hd(requests)

    turn =
      messages ++ [%{role: "assistant", content: hd(answers).text}, %{role: "user", content: "And of Italy?"}]

    {:ok, response} = Server.generate(server, turn, max_tokens: 8)
    assert response.ids == Mlx.LM.generate(lm, turn, max_tokens: 8).ids
    assert response.cached_tokens >= hd(answers).prompt_tokens
  end

  test "requests at once with grammars and without have the texts that they have alone" do
    lm = Mlx.LM.load(System.fetch_env!("MLX_TEST_MODEL"), type: :f32, form: :dense)

    person = %{
      type: "object",
      properties: [{"name", %{type: "string"}}, {"age", %{type: "integer", minimum: 0}}],
      required: ["name", "age"],
      additionalProperties: false
    }

    requests = [
      {"Alice is thirty years old. As JSON:", [grammar: Grammar.json_schema(person)]},
      {"Tell me of the capital of France.", []},
      {"Is the sky blue? Answer yes or no.", [grammar: Grammar.choices(["yes", "no"])]},
      {"Bob is nine. As JSON:", [grammar: Grammar.json_schema(person), temperature: 0.8, seed: 4]},
      {"A date:", [grammar: Grammar.regex("[0-9]{4}-[0-9]{2}-[0-9]{2}"), temperature: 1.0, seed: 2]},
      {"Sing of rain.", [temperature: 0.9, seed: 3]}
    ]

    requests = for {text, options} <- requests, do: {[%{role: "user", content: text}], [max_tokens: 48] ++ options}
    alone = for {messages, options} <- requests, do: Mlx.LM.generate(lm, messages, options)
    server = start_supervised!({Server, model: lm, prefill_step: 16})

    answers =
      requests
      |> Task.async_stream(fn {messages, options} -> Server.generate(server, messages, options) end,
        max_concurrency: length(requests),
        timeout: 600_000
      )
      |> Enum.map(fn {:ok, {:ok, response}} -> response end)

    for {answer, expected} <- Enum.zip(answers, alone) do
      assert {answer.ids, answer.text, answer.finish_reason} == {expected.ids, expected.text, expected.finish_reason}
    end

    [alice, _france, sky, bob, date, _rain] = answers

    for answer <- [alice, bob], answer.finish_reason == :stop do
      assert %{"name" => name, "age" => age} = JSON.decode!(answer.text)
      assert is_binary(name) and is_integer(age) and age >= 0
    end

    assert alice.finish_reason == :stop
    assert sky.text in ["yes", "no"]
    assert date.text =~ ~r/\A\d{4}-\d{2}-\d{2}\z/
  end
end
