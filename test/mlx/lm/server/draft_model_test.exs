defmodule Mlx.LM.Server.DraftModelTest do
  # A draft model of a server: the answers are those of single generations, and their distribution is that of the model.
  use ExUnit.Case, async: true

  import Mlx.Test.ChiSquare, only: [deviation_from_another: 2, deviation_of_pairs: 2, pairs_of_all: 2]
  import Mlx.Test.RandomModel, only: [lm: 2, lm: 3, near: 3, transitions: 2]

  alias Mlx.LM.Server
  alias Mlx.LM.Server.Error
  alias Mlx.Test.RandomModel

  @words RandomModel.words()
  @llama RandomModel.llama()

  setup_all do
    lm = lm(@llama, 7)
    %{lm: lm, draft: near(lm, 8, 0.2)}
  end

  defp told(response), do: Map.take(response, [:text, :ids, :finish_reason, :prompt_tokens, :generated_tokens])
  defp chosen(response), do: response.logprobs && Enum.map(response.logprobs, & &1.id)

  # Prompts of different lengths, of which some begin alike.
  defp prompt(seed), do: for(n <- 0..(2 + 3 * rem(seed, 7)), do: rem(n * n + div(n, 3) * seed, @words))

  @greedy [
    [],
    [logprobs: 2],
    [presence_penalty: 0.3],
    [repetition_penalty: 1.2, logprobs: 1],
    [logit_bias: %{3 => 1.5}],
    [stop: ["t3 t5", "t9"]],
    [stop_ids: [4]],
    [max_tokens: 1],
    [max_tokens: 2]
  ]

  # Some rows draft otherwise, or not at all.
  @drafts [
    [],
    [draft: :model],
    [draft_tokens: 2],
    [],
    [draft: false],
    [draft: :prompt],
    [draft: :model, draft_tokens: 7]
  ]

  defp answers(server, requests, most) do
    requests
    |> Task.async_stream(fn {prompt, options} -> Server.generate(server, prompt, options) end,
      max_concurrency: most,
      timeout: 300_000
    )
    |> Enum.map(fn {:ok, {:ok, response}} -> response end)
  end

  @tag timeout: 900_000
  test "greedy answers are those of the model alone, 1, 4 and 16 at once", %{lm: lm, draft: draft} do
    requests =
      for seed <- 1..28 do
        options = Enum.at(@greedy, rem(seed, length(@greedy)))
        {prompt(seed), Keyword.put_new(options, :max_tokens, 10 + seed), Enum.at(@drafts, rem(seed, length(@drafts)))}
      end

    expected = for {prompt, options, _draft} <- requests, do: Mlx.LM.generate(lm, prompt, options)
    requests = for {prompt, options, draft} <- requests, do: {prompt, options ++ draft}

    for {most, prompt_cache} <- [{1, nil}, {4, 0}, {16, nil}] do
      server =
        start_supervised!({Server, model: lm, draft: draft, prompt_cache: prompt_cache, prefill_step: 16},
          id: {most, prompt_cache}
        )

      responses = answers(server, requests, most)

      for {response, alone} <- Enum.zip(responses, expected) do
        assert {most, told(response), chosen(response)} == {most, told(alone), chosen(alone)}
      end

      for {response, {_prompt, options}} <- Enum.zip(responses, requests) do
        if options[:draft] == false,
          do: assert(response.speculation == nil),
          else: assert(%{drafted: drafted, accepted: accepted} = response.speculation) && assert(accepted <= drafted)
      end

      figures = for %{speculation: %{} = figures} <- responses, do: figures
      [drafted, accepted] = for key <- [:drafted, :accepted], do: figures |> Enum.map(& &1[key]) |> Enum.sum()
      assert accepted > 100 and accepted < drafted
      assert %{counters: %{drafted_tokens: ^drafted, accepted_tokens: ^accepted}} = Server.info(server)
    end
  end

  @tag timeout: 900_000
  test "answers of a seed are those of a generation with the same draft model, and as many drafts are accepted",
       %{lm: lm, draft: draft} do
    server = start_supervised!({Server, model: lm, draft: draft, draft_tokens: 3})

    requests =
      for seed <- 1..16 do
        options =
          Enum.at([[], [top_k: 5], [top_p: 0.8, presence_penalty: 0.2], [min_p: 0.1, logprobs: 2]], rem(seed, 4))

        {prompt(seed), [temperature: 0.8, seed: seed, max_tokens: 20 + seed] ++ options}
      end

    expected =
      for {prompt, options} <- requests, do: Mlx.LM.generate(lm, prompt, options ++ [draft: draft, draft_tokens: 3])

    for most <- [1, 16], {response, alone} <- Enum.zip(answers(server, requests, most), expected) do
      assert {most, told(response), chosen(response), response.speculation} ==
               {most, told(alone), chosen(alone), alone.speculation}
    end
  end

  @tag timeout: 900_000
  test "answers have the model's distribution: chi-square over 20,000 tokens of 16 requests at once" do
    small = Map.merge(@llama, %{"num_hidden_layers" => 1, "hidden_size" => 16, "intermediate_size" => 16})
    lm = lm(small, 1, memoryless: true, scale: 0.6)
    draft = near(lm, 2, 0.4)
    server = start_supervised!({Server, model: lm, draft: draft})
    sampling = [temperature: 0.9]
    requests = for seed <- 1..32, do: {[1, 2], [seed: seed, max_tokens: 640] ++ sampling}
    responses = answers(server, requests, 16)
    assert Enum.sum(for response <- responses, do: length(response.ids)) > 20_000
    pairs = pairs_of_all(for(response <- responses, do: [2 | response.ids]), @words)
    assert abs(deviation_of_pairs(pairs, transitions(lm, sampling))) < 4
    # The drafts would not have it.
    assert deviation_from_another(pairs, transitions(draft, sampling)) > 50
    [drafted, accepted] = for key <- [:drafted, :accepted], do: Enum.sum(for r <- responses, do: r.speculation[key])
    assert accepted > drafted * 0.3 and accepted < drafted * 0.9
  end

  test "requests come and go at any token, and the others have their answers", %{lm: lm, draft: draft} do
    server = start_supervised!({Server, model: lm, draft: draft, prefill_step: 8})
    long = prompt(6) ++ prompt(13)
    expected = Mlx.LM.generate(lm, long, max_tokens: 300).ids

    task = Task.async(fn -> Server.generate(server, long, max_tokens: 300) end)

    for seed <- 1..30 do
      {:ok, ref} = Server.submit(server, prompt(seed), max_tokens: 200)
      # Before, while and after its prompt is read.
      for _event <- 1..rem(seed, 4)//1, do: assert_receive({Server, ^ref, {:text, _text}}, 60_000)
      Server.cancel(server, ref)
    end

    assert {:ok, %{ids: ^expected}} = Task.await(task, 60_000)
    assert %{active: 0, memory: %{reserved: 0}} = Server.info(server)
  end

  test "a conversation goes on from what both models have read", %{lm: lm, draft: draft} do
    server = start_supervised!({Server, model: lm, draft: draft})

    Enum.reduce(1..6, prompt(5), fn turn, prompt ->
      {:ok, response} = Server.generate(server, prompt, max_tokens: 10 + turn)
      assert response.ids == Mlx.LM.generate(lm, prompt, max_tokens: 10 + turn).ids
      if turn > 1, do: assert(response.cached_tokens >= length(prompt) - 4)
      prompt ++ response.ids ++ [turn, 0, turn]
    end)
  end

  test "a draft model of a short context, or of more or fewer logits, drafts what it can", %{lm: lm} do
    short = lm(Map.put(@llama, "max_position_embeddings", 24), 7)

    for {model, index} <-
          Enum.with_index([short | for(size <- [-2, 3], do: lm(Map.put(@llama, "vocab_size", @words + size), 8))]) do
      server = start_supervised!({Server, model: lm, draft: model}, id: index)
      requests = for seed <- 1..6, do: {prompt(seed), [max_tokens: 40]}

      for {response, {prompt, options}} <- Enum.zip(answers(server, requests, 6), requests) do
        assert response.ids == Mlx.LM.generate(lm, prompt, options).ids
        if length(prompt) < 20, do: assert(response.speculation.drafted > 0)
      end
    end
  end

  test "what a function of the user's own raises ends its request alone", %{lm: lm, draft: draft} do
    server = start_supervised!({Server, model: lm, draft: draft})
    {:ok, count} = Agent.start_link(fn -> 0 end)

    broken = fn logits ->
      if Agent.get_and_update(count, &{&1, &1 + 1}) > 8, do: raise("out of luck"), else: Mlx.argmax(logits, axis: -1)
    end

    tasks =
      for options <- [[sampler: broken], [temperature: 0.7, seed: 3], []] do
        Task.async(fn -> Server.generate(server, [1, 2, 3], [max_tokens: 30] ++ options) end)
      end

    [broken, drawn, greedy] = Task.await_many(tasks, 60_000)
    assert {:error, %Error{reason: :failed, message: message}} = broken
    assert message =~ "out of luck"
    assert {:ok, %{generated_tokens: 30}} = drawn
    assert {:ok, %{ids: ids}} = greedy
    assert ids == Mlx.LM.generate(lm, [1, 2, 3], max_tokens: 30).ids
  end

  test "what cannot be is refused, and says what is expected", %{lm: lm, draft: draft} do
    other = %{draft | tokenizer: RandomModel.tokenizer(for n <- 0..(@words - 1), do: "u#{n}")}

    for {options, words} <- [
          {[model: lm, draft: 5], "expected :draft to be an Mlx.LM, a path or name of a model, or nil, got: 5"},
          {[model: lm, draft: :prompt],
           "expected :draft to be an Mlx.LM, a path or name of a model, or nil, got: :prompt"},
          {[model: lm, draft: other], "a model with the same vocabulary, in which the token 0 is \"t0\", got: near"},
          {[model: lm, draft_tokens: 4], "expected :draft with :draft_tokens"},
          {[model: lm, draft: draft, draft_tokens: 65],
           "expected :draft_tokens to be an integer from 1 to 64, or nil, got: 65"},
          {[model: lm, draft: lm(RandomModel.recurrent(), 1)],
           "expected no :draft, because tiny 1 has recurrent layers or windows"},
          {[model: lm(RandomModel.windowed(), 2), draft: lm],
           "expected no :draft, because tiny 2 has recurrent layers or windows"}
        ] do
      error = assert_raise ArgumentError, fn -> Server.start_link(options) end
      assert error.message =~ "Mlx.LM.Server.start_link: "
      assert error.message =~ words
    end

    server = start_supervised!({Server, model: lm, draft: draft})
    without = start_supervised!({Server, model: lm}, id: :without)

    for {server, options, words} <- [
          {server, [draft: draft], "expected :draft to be :model, :prompt, {:ngram, options} or false, got a model"},
          {server, [draft: false, draft_tokens: 3], "expected :draft with :draft_tokens"},
          {without, [draft: :model], "got :model of a server without :draft"}
        ] do
      assert {:error, %Error{reason: :invalid, message: message}} = Server.generate(server, [1], options)
      assert message =~ words
    end
  end
end
