defmodule Mlx.LM.SpeculationTest do
  use ExUnit.Case, async: true

  import Mlx.Test.ChiSquare, only: [counts: 2, deviation: 1]
  import Mlx.Test.RandomModel, only: [lm: 2, lm: 3, near: 3, tokenizer: 0, tokenizer: 1, transitions: 2]

  alias Mlx.LM.{Checkpoint, Decoder, Decoding, RotatingCache, Sampler, StateCache}
  alias Mlx.LM.Sampler.Distribution
  alias Mlx.LM.Speculation.{Ngrams, Rejection}
  alias Mlx.Test.{ChiSquare, RandomModel}

  @moduletag :tmp_dir

  @script Path.expand("../../oracle/speculation.py", __DIR__)
  @words RandomModel.words()
  @llama RandomModel.llama()
  @windowed RandomModel.windowed()
  @recurrent RandomModel.recurrent()

  defp told(response), do: Map.take(response, [:text, :ids, :finish_reason, :generated_tokens, :prompt_tokens])

  describe "rejection" do
    @samples 20_000

    defp probabilities(rows, key) do
      [rows, @words]
      |> List.to_tuple()
      |> Mlx.Random.normal(scale: 1.5, key: Mlx.Random.key(key))
      |> Mlx.softmax(axes: [-1])
    end

    defp many(probabilities) do
      {rows, words} = probabilities.shape
      probabilities |> Mlx.new_axis(0) |> Mlx.broadcast({@samples, rows, words})
    end

    # Drafts of two tokens with `draft`, judged with `model`, for many samples.
    defp judged(draft, model, seed) do
      [drawing, judging] = seed |> Mlx.Random.key() |> Mlx.Random.split() |> Mlx.unstack()
      drafts = draft |> many() |> Mlx.log() |> Mlx.Random.categorical(key: drawing) |> Mlx.as_type(:s32)
      {accepted, next} = Rejection.choose(drafts, many(draft), many(model), judging)
      {Mlx.to_list(drafts), Mlx.to_list(accepted), Mlx.to_list(next)}
    end

    test "keeps the distribution at each place: chi-square over 20,000 samples" do
      for seed <- 1..3 do
        [draft, model] = [probabilities(2, seed), probabilities(3, seed + 100)]
        {drafts, accepted, next} = judged(draft, model, seed)
        [p0, p1, p2] = Mlx.to_list(model)
        [q0, q1] = Mlx.to_list(draft)
        given = Enum.zip([drafts, accepted, next])
        first = for {[a, _b], accepted, next} <- given, do: if(accepted > 0, do: a, else: next)
        second = for {[_a, b], accepted, next} <- given, accepted > 0, do: if(accepted > 1, do: b, else: next)
        third = for {_drafts, 2, next} <- given, do: next
        assert length(first) == @samples

        for {ids, p} <- [{first, p0}, {second, p1}, {third, p2}] do
          assert abs(deviation([{counts(ids, @words), p}])) < 4
        end

        # As many are accepted as the distributions have in common.
        common = fn p, q -> p |> Enum.zip_with(q, &min/2) |> Enum.sum() end
        rate = Enum.count(accepted, &(&1 > 0)) / @samples
        assert_in_delta rate, common.(p0, q0), 4 * :math.sqrt(0.25 / @samples)
        assert_in_delta length(third) / length(second), common.(p1, q1), 4 * :math.sqrt(0.25 / length(second))

        # The statistic sees it where the drafts are taken as they are.
        assert deviation([{counts(for([a, _b] <- drafts, do: a), @words), p0}]) > 50
      end
    end

    test "never gives a token that the model leaves out, and accepts all of the same distribution" do
      model = Mlx.array([[0.5, 0.5, 0.0, 0.0], [0.0, 0.0, 0.25, 0.75]])
      draft = Mlx.array([[0.0, 0.5, 0.5, 0.0]])
      {drafts, accepted, next} = judged_of(draft, model, 5)
      given = Enum.zip([drafts, accepted, next])
      assert Enum.all?(given, fn {[a], accepted, _} -> accepted == if(a == 1, do: 1, else: 0) end)
      assert Enum.all?(given, fn {_a, accepted, next} -> if accepted == 0, do: next == 0, else: next in [2, 3] end)
      same = probabilities(3, 9)
      {_drafts, accepted, _next} = judged(Mlx.slice(same, [0, 0], [2, @words]), same, 9)
      assert Enum.uniq(accepted) == [2]
    end

    defp judged_of(draft, model, seed) do
      drafts = draft |> many() |> Mlx.log() |> Mlx.Random.categorical(key: Mlx.Random.key(seed)) |> Mlx.as_type(:s32)
      {accepted, next} = Rejection.choose(drafts, many(draft), many(model), Mlx.Random.key(seed + 1))
      {Mlx.to_list(drafts), Mlx.to_list(accepted), Mlx.to_list(next)}
    end
  end

  describe "a distribution" do
    # What the sampler draws from one row of logits.
    defp drawn(options, logits, count) do
      sampler = Sampler.new(options)

      {tokens, _sampler} =
        Enum.map_reduce(1..count, sampler, fn _n, sampler ->
          {token, sampler} = Sampler.sample(%{sampler | recent: nil}, logits)
          {token, sampler}
        end)

      tokens |> Mlx.concatenate() |> Mlx.to_list()
    end

    test "is that of the sampler's own draws, with all filters" do
      logits = Mlx.Random.normal({1, @words}, scale: 1.5, key: Mlx.Random.key(3))

      for options <- [
            [temperature: 0.7],
            [temperature: 1.3, top_k: 5],
            [temperature: 0.9, top_p: 0.8],
            [temperature: 1.0, min_p: 0.1, top_k: 6],
            [temperature: 2.0, xtc_probability: 1.0, xtc_threshold: 0.1]
          ] do
        options = [seed: 4] ++ options
        {_row, p} = Distribution.of(Sampler.new(options), logits, Mlx.Random.key(1))
        [p] = Mlx.to_list(p)
        assert_in_delta Enum.sum(p), 1.0, 1.0e-5
        assert abs(deviation([{counts(drawn(options, logits, 1500), @words), p}])) < 4
      end
    end
  end

  describe "n-grams" do
    defp drafted(ids, count, options \\ [longest: 3, shortest: 2]) do
      options |> Ngrams.new() |> Ngrams.append(ids) |> Ngrams.draft(count)
    end

    test "draft what followed the same tokens" do
      assert drafted([1, 2, 3, 4, 5, 9, 1, 2, 3], 2) == [4, 5]
      assert drafted([1, 2, 3, 4, 5, 9, 8, 3], 2) == []
      assert drafted([1, 2, 3, 4, 5, 9, 8, 3], 2, longest: 3, shortest: 1) == [4, 5]
      assert drafted([], 2) == []
      assert drafted([1, 2], 2) == []
    end

    test "take the longest run, and of several places the latest" do
      assert drafted([1, 2, 3, 4, 9, 2, 3, 5, 1, 2, 3], 1) == [4]
      assert drafted([2, 3, 4, 0, 2, 3, 5, 0, 7, 2, 3], 1) == [5]
    end

    test "take a text that repeats itself to go on so" do
      assert drafted([7, 1, 2, 1, 2], 5, longest: 2, shortest: 2) == [1, 2, 1, 2, 1]
      assert drafted([5, 5, 5], 4) == [5, 5, 5, 5]
    end
  end

  describe "greedy text" do
    for {name, config} <- [llama: @llama, windowed: @windowed, recurrent: @recurrent] do
      @config config

      test "of a #{name} model is that without drafts, whoever drafts and however many" do
        lm = lm(@config, 7)
        drafts = [:prompt, {:ngram, longest: 2, shortest: 1}, lm, near(lm, 8, 0.2), lm(@llama, 9)]
        drafts = drafts ++ [lm(@windowed, 10), lm(@recurrent, 11)]

        for {draft, count} <- Enum.zip(drafts, [nil, 3, 4, 2, 5, 3, 1]), prompt <- [[1, 2, 3], [4, 5, 4, 5, 4, 5, 6]] do
          options = [max_tokens: 45]
          response = Mlx.LM.generate(lm, prompt, [draft: draft, draft_tokens: count] ++ options)
          assert told(response) == told(Mlx.LM.generate(lm, prompt, options))
          %{drafted: drafted, accepted: accepted, rounds: rounds} = response.speculation
          assert accepted <= drafted and (rounds + accepted) in 44..47
          # A model agrees with itself.
          if draft == lm, do: assert(accepted == drafted and rounds <= 10)
        end
      end
    end

    test "is that without drafts with penalties, processors, log-probabilities and quantized caches" do
      lm = lm(@llama, 7)
      twice = fn tokens, logits -> Mlx.subtract(logits, Mlx.as_type(Mlx.sum(Mlx.equal(tokens, 3)), :f32)) end

      for options <- [
            [repetition_penalty: 1.3, frequency_penalty: 0.2],
            [presence_penalty: 0.5, logit_bias: %{4 => 1.0}],
            [logits_processors: [twice], processor_context: 5],
            [sampler: &Mlx.argmax(&1, axis: -1)],
            [max_tokens: 1],
            [max_tokens: 2]
          ],
          draft <- [:prompt, near(lm, 8, 0.2)] do
        options = Keyword.merge([max_tokens: 40, logprobs: 2], options)

        [plain, response] =
          for extra <- [[], [draft: draft]], do: Mlx.LM.generate(lm, [1, 2, 3, 1, 2], options ++ extra)

        assert told(response) == told(plain)
        assert length(response.logprobs) == length(plain.logprobs)

        for {a, b} <- Enum.zip(response.logprobs, plain.logprobs) do
          assert a.id == b.id
          assert_in_delta a.logprob, b.logprob, 1.0e-4
          assert_in_delta elem(hd(a.top), 1), elem(hd(b.top), 1), 1.0e-4
        end
      end
    end

    test "ends at strings and tokens that end it, and at the end of the context" do
      lm = lm(Map.put(@llama, "max_position_embeddings", 30), 7)
      %{ids: ids} = Mlx.LM.generate(lm, [1, 2, 3], max_tokens: 20)

      for options <- [[stop: ["t#{Enum.at(ids, 12)}"]], [stop_ids: [Enum.at(ids, 13)]], [max_tokens: 100]],
          draft <- [:prompt, lm, near(lm, 8, 0.2)] do
        response = Mlx.LM.generate(lm, [1, 2, 3], [draft: draft] ++ options)
        assert told(response) == told(Mlx.LM.generate(lm, [1, 2, 3], options))
      end
    end

    test "goes on from a context that was read with drafts" do
      lm = lm(@recurrent, 7)
      first = Mlx.LM.generate(lm, [1, 2, 3], max_tokens: 20, draft: near(lm, 8, 0.2))
      assert length(first.context.ids) == hd(first.context.caches).length
      prompt = first.context.ids ++ [4, 5]
      plain = Mlx.LM.generate(lm, prompt, max_tokens: 20)
      response = Mlx.LM.generate(lm, prompt, max_tokens: 20, draft: :prompt, context: first.context)
      assert told(response) == told(plain)
      assert response.cached_tokens == length(prompt) - 2
    end
  end

  @tag :oracle
  test "greedy tokens are those of mlx-lm with a draft model, and as many drafts are accepted", %{tmp_dir: folder} do
    {output, status} = System.cmd(System.fetch_env!("MLX_ORACLE_PYTHON"), [@script, folder], stderr_to_stdout: true)
    assert status == 0, output

    for name <- File.ls!(folder), case = Path.join(folder, name) do
      [lm, draft] =
        for part <- ["model", "draft"], model = Checkpoint.load(Path.join(case, part)) do
          %Mlx.LM{name: part, model: model, decode: Decoding.compile(model), tokenizer: tokenizer(), template: nil}
        end

      given = case |> Path.join("case.json") |> File.read!() |> JSON.decode!()
      %{"ids" => ids, "draft_tokens" => count, "tokens" => tokens, "drafted" => from_draft} = given
      response = Mlx.LM.generate(lm, ids, draft: draft, draft_tokens: count, max_tokens: length(tokens))
      assert {name, response.ids} == {name, tokens}
      # mlx-lm also drafts the last token of all, after which there is no other.
      accepted = Enum.count(from_draft, & &1)
      assert {name, response.speculation.accepted in (accepted - 1)..accepted} == {name, true}
    end
  end

  describe "sampled text" do
    test "of a seed is that without drafts where the text itself drafts" do
      lm = lm(@llama, 7)

      for seed <- 1..3, options <- [[top_k: 5], [top_p: 0.9, presence_penalty: 0.1], [xtc_probability: 0.5]] do
        options = [temperature: 0.6, seed: seed, max_tokens: 60] ++ options
        response = Mlx.LM.generate(lm, [1, 2, 1, 2, 1, 2], options ++ [draft: :prompt])
        assert response.speculation.drafted > 0
        assert told(response) == told(Mlx.LM.generate(lm, [1, 2, 1, 2, 1, 2], options))
      end
    end

    test "of a seed is the same each time with a model, and another of another seed" do
      lm = lm(@llama, 7)
      options = [temperature: 1.0, max_tokens: 60, draft: near(lm, 8, 0.2), logprobs: 1, repetition_penalty: 1.1]
      [a, b, c] = for seed <- [1, 1, 2], do: Mlx.LM.generate(lm, [1, 2, 3], [seed: seed] ++ options)
      assert {a.ids, a.logprobs} == {b.ids, b.logprobs}
      assert a.ids != c.ids
      assert Enum.map(a.logprobs, & &1.id) == a.ids
    end

    @tag timeout: 900_000
    test "has the model's distribution: chi-square over 20,000 tokens" do
      small = Map.merge(@llama, %{"num_hidden_layers" => 1, "hidden_size" => 16, "intermediate_size" => 16})
      lm = lm(small, 1, memoryless: true, scale: 0.6)
      draft = near(lm, 2, 0.4)

      for {options, seeds} <- [{[temperature: 0.9], 1..8}, {[temperature: 1.2, top_k: 8, min_p: 0.01], 9..9}] do
        responses =
          for seed <- seeds do
            options = [seed: seed, max_tokens: 2500, draft: draft, draft_tokens: 4] ++ options
            Mlx.LM.generate(lm, [1, 2], options)
          end

        pairs = ChiSquare.pairs_of_all(for(response <- responses, do: [2 | response.ids]), @words)
        assert abs(ChiSquare.deviation_of_pairs(pairs, transitions(lm, options))) < 4
        # The drafts would not have it.
        assert ChiSquare.deviation_from_another(pairs, transitions(draft, options)) > 50

        accepted = Enum.sum(for response <- responses, do: response.speculation.accepted)
        drafted = Enum.sum(for response <- responses, do: response.speculation.drafted)
        assert accepted > drafted * 0.3 and accepted < drafted * 0.9
      end
    end
  end

  describe "caches" do
    test "of all kinds are those of the test" do
      kinds = fn config -> for %kind{} <- Decoder.caches(lm(config, 1).model), uniq: true, do: kind end
      assert RotatingCache in kinds.(@windowed)
      assert kinds.(@recurrent) == [StateCache]
    end

    test "are quantized as without drafts" do
      lm = lm(Map.merge(@llama, %{"hidden_size" => 128}), 7)

      for draft <- [:prompt, near(lm, 8, 0.2)] do
        options = [max_tokens: 30, cache: [bits: 8, group_size: 64]]
        response = Mlx.LM.generate(lm, [1, 2, 3], [draft: draft] ++ options)
        assert told(response) == told(Mlx.LM.generate(lm, [1, 2, 3], options))
        assert [%Mlx.LM.QuantizedCache{}, _] = response.context.caches
      end
    end
  end

  describe "options" do
    test "that are wrong are refused at once, and say what is expected" do
      lm = lm(@llama, 7)
      other = %{lm(@llama, 8) | tokenizer: tokenizer(for n <- 0..(@words - 1), do: "u#{n}")}
      fewer = %{lm(@llama, 8) | tokenizer: tokenizer(["t0", "t1"])}

      for {options, expected} <- [
            {[draft: 1], "expected :draft to be an Mlx.LM, :prompt or {:ngram, options}, got: 1"},
            {[draft: "model"], "expected :draft to be an Mlx.LM"},
            {[draft: {:ngram, [size: 2]}], "with the options :longest and :shortest, got"},
            {[draft: {:ngram, [longest: 0]}], "integers 1 <= :shortest <= :longest <= 64, got"},
            {[draft: {:ngram, [longest: 2, shortest: 3]}], "integers 1 <= :shortest <= :longest <= 64, got"},
            {[draft: {:ngram, [:a | :b]}], "with the options :longest and :shortest, got"},
            {[draft: {:ngram, [1]}], "with the options :longest and :shortest, got"},
            {[draft: {:ngram, [shortest: nil]}], "integers 1 <= :shortest <= :longest <= 64, got"},
            {[draft: other], "a model with the same vocabulary, in which the token 0 is \"t0\", got: tiny 8"},
            {[draft: fewer], "a model with the same vocabulary, of 12 tokens, got: tiny 8, of 2 tokens"},
            {[draft_tokens: 3], "expected :draft with :draft_tokens"},
            {[draft: :prompt, draft_tokens: 0], "expected :draft_tokens to be an integer from 1 to 64, or nil, got: 0"},
            {[draft: :prompt, cache: [max_size: 8]], "expected :cache without :max_size beside :draft"}
          ] do
        error = assert_raise ArgumentError, fn -> Mlx.LM.stream(lm, [1, 2], options) end
        assert error.message =~ ~r/^Mlx.LM.stream: /
        assert error.message =~ expected
      end
    end

    test "with a model of more or fewer logits are taken" do
      lm = lm(@llama, 7)

      for size <- [@words - 2, @words + 3], options <- [[], [temperature: 1.0, seed: 1]] do
        draft = lm(Map.put(@llama, "vocab_size", size), 8)
        response = Mlx.LM.generate(lm, [1, 2, 3], [max_tokens: 20, draft: draft] ++ options)
        assert length(response.ids) == 20 and response.speculation.drafted > 0
      end
    end

    test "with a model of a short context draft as long as it lasts" do
      lm = lm(@llama, 7)
      draft = lm(Map.put(@llama, "max_position_embeddings", 10), 7)
      response = Mlx.LM.generate(lm, [1, 2, 3], max_tokens: 40, draft: draft)
      assert response.ids == Mlx.LM.generate(lm, [1, 2, 3], max_tokens: 40).ids
      assert response.speculation.drafted in 1..10
    end
  end

  @tag :model
  @tag timeout: 300_000
  test "the greedy text of SmolLM2 is that without drafts, and a part of the prompt is accepted" do
    lm = Mlx.LM.load(System.fetch_env!("MLX_TEST_MODEL"))
    text = "The library of Whitby opens on Monday, 3 March. The repair cost 1.3 million pounds and took eleven months."
    messages = [%{role: "user", content: "Repeat this text word for word:\n\n" <> text}]

    [plain, response] =
      for options <- [[], [draft: :prompt]], do: Mlx.LM.generate(lm, messages, [max_tokens: 40] ++ options)

    assert told(response) == told(plain)
    assert response.speculation.accepted > 0
  end
end
