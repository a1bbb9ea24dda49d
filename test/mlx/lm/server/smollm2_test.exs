defmodule Mlx.LM.Server.SmolLM2Test do
  use ExUnit.Case, async: false

  alias Mlx.LM.Server

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
end
