defmodule Mlx.LM.Server.DraftingTest do
  # Drafts from the text of each row: the answers are those without.
  use ExUnit.Case, async: true

  import Mlx.ServedModels, only: [told: 1]

  alias Mlx.LM.{Response, Server}
  alias Mlx.LM.Server.{Drafting, Error}
  alias Mlx.ServedModels

  @moduletag :tmp_dir

  setup %{tmp_dir: folder} do
    lm = ServedModels.llama(folder)
    %{lm: lm, server: start_supervised!({Server, model: lm})}
  end

  defp ids(response), do: response.logprobs && Enum.map(response.logprobs, & &1.id)

  # A text that is forced to repeat itself in part, so that drafts are accepted and refused.
  @repeating [logit_bias: %{97 => 14.0, 98 => 14.5, 99 => 13.5}]

  @options [
    [],
    @repeating,
    @repeating ++ [temperature: 0.8, seed: 4],
    @repeating ++ [temperature: 0.7, seed: 5, logprobs: 2, presence_penalty: 0.3],
    @repeating ++ [repetition_penalty: 1.2, logprobs: 1],
    @repeating ++ [stop: ["aab", "bcb"]],
    @repeating ++ [temperature: 0.9, seed: 7, stop_ids: [99]],
    [max_tokens: 1]
  ]

  @draft [draft: {:ngram, longest: 3, shortest: 1}, draft_tokens: 4]

  defp prompt(seed), do: for(n <- 1..(3 + seed), do: 97 + rem(n * (seed + 1), 3))

  test "alone and many at once, with and without drafts, have the answers of a generation", %{lm: lm, server: server} do
    requests =
      for {options, seed} <- Enum.with_index(@options ++ Enum.reverse(@options)) do
        options = Keyword.put_new(options, :max_tokens, 30 + seed)
        {prompt(seed), options, if(rem(seed, 3) == 2, do: [], else: @draft)}
      end

    expected = for {prompt, options, _draft} <- requests, do: Mlx.LM.generate(lm, prompt, options)

    for most <- [1, 4, 16] do
      responses =
        requests
        |> Task.async_stream(
          fn {prompt, options, draft} -> Server.generate(server, prompt, options ++ draft) end,
          max_concurrency: most,
          timeout: 300_000
        )
        |> Enum.map(fn {:ok, {:ok, %Response{} = response}} -> response end)

      for {response, alone} <- Enum.zip(responses, expected) do
        assert {most, told(response), ids(response)} == {most, told(alone), ids(alone)}
      end

      for {response, {_prompt, options, draft}} <- Enum.zip(responses, requests) do
        if draft == [] do
          assert response.speculation == nil
        else
          assert %{drafted: drafted, accepted: accepted, rounds: rounds} = response.speculation
          assert accepted <= drafted
          # Each call gives a token more than are accepted; the first one comes of the prompt.
          if response.finish_reason == :length, do: assert(rounds + accepted == options[:max_tokens] - 1)
        end
      end

      accepted = Enum.sum(for %{speculation: %{accepted: accepted}} <- responses, do: accepted)
      drafted = Enum.sum(for %{speculation: %{drafted: drafted}} <- responses, do: drafted)
      assert accepted > 50 and drafted > accepted
    end
  end

  test "a prompt that was read with drafts is known", %{lm: lm, server: server} do
    options = @repeating ++ [temperature: 0.8, seed: 4, max_tokens: 40]
    {:ok, first} = Server.generate(server, prompt(5), options ++ @draft)
    prompt = prompt(5) ++ first.ids ++ [100, 101]
    {:ok, response} = Server.generate(server, prompt, [max_tokens: 20] ++ @draft)
    assert told(response) == told(Mlx.LM.generate(lm, prompt, max_tokens: 20))
    assert response.cached_tokens >= length(prompt) - 4
  end

  test "what is wrong is refused", %{lm: lm, server: server} do
    grammar = Mlx.LM.Grammar.json()

    for {options, words} <- [
          {[draft: lm], "expected :draft to be :model, :prompt, {:ngram, options} or false, got a model"},
          {[draft: 5], "expected :draft to be an Mlx.LM, :prompt or {:ngram, options}, got: 5"},
          {[draft_tokens: 5], "expected :draft with :draft_tokens"},
          {[draft: :prompt, draft_tokens: 65], "expected :draft_tokens to be an integer from 1 to 64, or nil, got: 65"},
          {[draft: :prompt, grammar: grammar], "expected either :draft or :grammar, got both"}
        ] do
      assert {:error, %Error{reason: :invalid, message: message}} = Server.generate(server, "a", options)
      assert String.starts_with?(message, "Mlx.LM.Server.generate: " <> words)
    end

    assert_raise ArgumentError, ~r/^expected either :draft or :grammar, got both/, fn ->
      Drafting.settings!([draft: :prompt, grammar: :any], %{name: "tiny", drafts?: true, draft_tokens: nil})
    end

    assert_raise ArgumentError, ~r/: expected either :draft or :grammar, got both/, fn ->
      Mlx.LM.generate(lm, "a", draft: :prompt, grammar: grammar)
    end

    assert_raise ArgumentError, ~r/^expected no :draft, because tiny has recurrent layers or windows/, fn ->
      Drafting.settings!([draft: :prompt], %{name: "tiny", drafts?: false, draft_tokens: nil})
    end
  end

  test "a request with a grammar has no drafts of the draft model, beside others that have", %{lm: lm} do
    server = start_supervised!({Server, model: lm, draft: lm}, id: :with_draft)
    grammar = Mlx.LM.Grammar.choices(["abc", "bca"])
    requests = [@repeating ++ [max_tokens: 60], [max_tokens: 60, draft: false], [max_tokens: 40] ++ @draft]
    tasks = for options <- requests, do: Task.async(fn -> Server.generate(server, prompt(4), options) end)
    assert {:ok, %{text: text, speculation: nil}} = Server.generate(server, prompt(5), grammar: grammar, max_tokens: 20)
    assert text in ["abc", "bca"]

    for {options, {:ok, response}} <- Enum.zip(requests, Task.await_many(tasks, 60_000)) do
      assert told(response) == told(Mlx.LM.generate(lm, prompt(4), Keyword.take(options, [:max_tokens, :logit_bias])))
    end

    for options <- [[draft: :model], [draft_tokens: 3]] do
      assert {:error, %Error{reason: :invalid, message: message}} =
               Server.generate(server, "a", [grammar: grammar] ++ options)

      assert message == "Mlx.LM.Server.generate: expected either :draft or :grammar, got both"
    end
  end
end
