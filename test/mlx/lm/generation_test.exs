defmodule Mlx.LM.GenerationTest do
  use ExUnit.Case, async: true

  alias Mlx.LM.{Decoder, Response, Sampler}
  alias Mlx.TinyLlama

  @moduletag :tmp_dir

  doctest Mlx.LM.Generation

  setup %{tmp_dir: folder} do
    path = Path.join(folder, "tiny.gguf")
    TinyLlama.save(path)
    %{lm: Mlx.LM.load(path, type: :f32)}
  end

  defp options(changes \\ []), do: Keyword.merge([temperature: 1.0, seed: 5, max_tokens: 30], changes)

  # The log-probabilities after tokens, of the whole model at once.
  defp logprobs(lm, ids) do
    {logits, _caches} = Decoder.call(lm.model, Mlx.array([ids]), Decoder.caches(lm.model))
    logits |> Mlx.subtract(Mlx.logsumexp(logits, axes: [-1], keep_axes: true)) |> Mlx.to_list() |> hd()
  end

  describe "log-probabilities" do
    test "are those of the model for each token and the most probable ones", %{lm: lm} do
      prompt = [1, 2, 3]
      response = Mlx.LM.generate(lm, prompt, options(logprobs: 4, max_tokens: 12, top_p: 0.9))
      assert Enum.map(response.logprobs, & &1.id) == response.ids

      for {token, count} <- Enum.with_index(response.logprobs) do
        expected = logprobs(lm, prompt ++ Enum.take(response.ids, count))
        assert_in_delta token.logprob, Enum.at(expected, token.id), 1.0e-4
        best = expected |> Enum.sort(:desc) |> Enum.take(4)
        assert length(token.top) == 4
        for {{_id, logprob}, best} <- Enum.zip(token.top, best), do: assert_in_delta(logprob, best, 1.0e-4)
        for {id, logprob} <- token.top, do: assert_in_delta(logprob, Enum.at(expected, id), 1.0e-4)
      end
    end

    test "change no token, and come as events before the text", %{lm: lm} do
      plain = Mlx.LM.generate(lm, "abc", options())
      assert plain.logprobs == nil
      events = lm |> Mlx.LM.events("abc", options(logprobs: 2)) |> Enum.to_list()
      assert {:done, %Response{} = response} = List.last(events)
      assert {response.ids, response.text} == {plain.ids, plain.text}
      assert for({:token, token} <- events, do: token) == response.logprobs
      assert Enum.join(for {:text, text} <- events, do: text) == response.text
      assert match?([{:token, %{top: [_, _]}} | _], events)
    end

    test "are only of the token where no other is asked for, and for greedy tokens the best", %{lm: lm} do
      response = Mlx.LM.generate(lm, "abc", logprobs: 0, max_tokens: 5)
      assert [%{top: []}, _, _, _, _] = response.logprobs

      for %{id: id, logprob: p, top: top} <- Mlx.LM.generate(lm, "abc", logprobs: 1, max_tokens: 5).logprobs,
          do: assert([{id, p}] == top)
    end

    test "have none for an end token", %{lm: lm} do
      %{ids: ids} = Mlx.LM.generate(lm, "abc", options())
      response = Mlx.LM.generate(lm, "abc", options(logprobs: 1, stop_ids: [Enum.at(ids, 9)]))
      assert length(response.logprobs) == length(response.ids)
      assert response.finish_reason == :stop
    end
  end

  describe "end tokens" do
    test "of one's own end the text in place of the model's", %{lm: lm} do
      %{ids: ids} = Mlx.LM.generate(lm, "abc", options())
      [own, other] = [Enum.at(ids, 12), Enum.at(ids, 4)]
      lm = %{lm | tokenizer: %{lm.tokenizer | end_ids: MapSet.new([other])}}
      assert Mlx.LM.generate(lm, "abc", options()).ids == Enum.take_while(ids, &(&1 != other))
      response = Mlx.LM.generate(lm, "abc", options(stop_ids: [own]))
      assert {response.ids, response.finish_reason} == {Enum.take_while(ids, &(&1 != own)), :stop}
      assert response.generated_tokens == length(response.ids) + 1
      assert Mlx.LM.generate(lm, "abc", options(stop_ids: [])).ids == ids
      assert Mlx.LM.generate(lm, "abc", options(stop_ids: [own], ignore_eos: true)).ids == response.ids
    end

    test "can be ignored", %{lm: lm} do
      %{ids: ids} = Mlx.LM.generate(lm, "abc", options())
      lm = %{lm | tokenizer: %{lm.tokenizer | end_ids: MapSet.new(ids)}}
      assert Mlx.LM.generate(lm, "abc", options()).ids == []
      response = Mlx.LM.generate(lm, "abc", options(ignore_eos: true))
      assert {response.ids, response.finish_reason} == {ids, :length}
    end
  end

  describe "progress" do
    defp progress(lm, prompt, options) do
      test = self()
      response = Mlx.LM.generate(lm, prompt, [progress: &send(test, &1), max_tokens: 2] ++ options)
      {response, received([])}
    end

    defp received(steps) do
      receive do
        {:prefill, done, total} -> received([{done, total} | steps])
      after
        0 -> Enum.reverse(steps)
      end
    end

    test "tells of each part of the prompt", %{lm: lm} do
      prompt = Enum.to_list(1..10)
      assert {_response, [{0, 10}, {4, 10}, {8, 10}, {10, 10}]} = progress(lm, prompt, prefill_step: 4)
      assert {_response, [{0, 10}, {5, 10}, {10, 10}]} = progress(lm, prompt, prefill_step: 5)
      assert {response, [{0, 10}, {10, 10}]} = progress(lm, prompt, [])
      assert {_response, [{0, 2}, {2, 2}]} = progress(lm, prompt ++ [11, 12], context: response.context)
    end

    test "that raises ends the generation", %{lm: lm} do
      stop = fn {:prefill, done, _total} -> if done > 0, do: raise("enough"), else: :ok end
      assert_raise RuntimeError, "enough", fn -> Mlx.LM.generate(lm, [1, 2, 3], progress: stop, prefill_step: 1) end
      assert_raise RuntimeError, "enough", fn -> Mlx.LM.generate(lm, [1, 2, 3], progress: stop) end
    end
  end

  test "a context that was used is refused, by whatever reads it", %{lm: lm} do
    prompt = Enum.to_list(1..10)

    for cache <- [nil, [max_size: 64]] do
      response = Mlx.LM.generate(lm, prompt, max_tokens: 2, cache: cache)
      again = [context: response.context, cache: cache, max_tokens: 2]
      assert Mlx.LM.generate(lm, prompt ++ [11, 12], again).generated_tokens == 2
      message = ~r/^Mlx.LM.generate: the context was used already, and can be used once/
      assert_raise ArgumentError, message, fn -> Mlx.LM.generate(lm, prompt ++ [11, 12], again) end
      assert_raise ArgumentError, message, fn -> Mlx.LM.generate(lm, [5], again) end
      message = ~r/^Mlx.LM.Context.save: the context was used already/
      assert_raise ArgumentError, message, fn -> Mlx.LM.Context.save(response.context, lm, "no/such/file") end
    end
  end

  describe "samplers in a generation" do
    test "see the prompt and all tokens since, in the compiled step as in the first", %{lm: lm} do
      %{ids: greedy} = Mlx.LM.generate(lm, [1, 2, 3], max_tokens: 20)
      assert length(Enum.uniq(greedy)) < 20
      %{ids: ids} = Mlx.LM.generate(lm, [1, 2, 3], max_tokens: 20, presence_penalty: 1.0e6)
      assert length(Enum.uniq(ids)) == 20

      # Each token is the most probable one that did not come.
      for {id, count} <- Enum.with_index(ids) do
        read = [1, 2, 3] ++ Enum.take(ids, count)
        {_best, place} = lm |> logprobs(read) |> Enum.with_index() |> Enum.reject(&(elem(&1, 1) in read)) |> Enum.max()
        assert id == place
      end
    end

    test "a processor of one's own does what a penalty does", %{lm: lm} do
      never_twice = fn tokens, logits ->
        vocabulary = Mlx.axis_size(logits, 1)
        came = Mlx.any(Mlx.equal(Mlx.new_axis(tokens, 1), Mlx.new_axis(Mlx.arange(vocabulary), 0)), axes: [0])
        Mlx.select(came, :neg_infinity, logits)
      end

      penalized = Mlx.LM.generate(lm, [1, 2, 3], max_tokens: 20, presence_penalty: 1.0e6).ids
      assert Mlx.LM.generate(lm, [1, 2, 3], max_tokens: 20, logits_processors: [never_twice]).ids == penalized
    end

    test "functions run twice at most, however many tokens there are", %{lm: lm} do
      calls = :counters.new(2, [])
      processor = fn _tokens, logits -> tap(logits, fn _ -> :counters.add(calls, 1, 1) end) end
      sampler = fn logprobs -> tap(Mlx.Random.categorical(logprobs), fn _ -> :counters.add(calls, 2, 1) end) end
      options = [logits_processors: [processor], sampler: sampler, seed: 1, max_tokens: 40]
      response = Mlx.LM.generate(lm, "abc", options)
      assert length(Enum.uniq(response.ids)) > 5
      assert {:counters.get(calls, 1), :counters.get(calls, 2)} == {2, 2}
      assert Mlx.LM.generate(lm, "abc", options).ids == response.ids
      refute Mlx.LM.generate(lm, "abc", Keyword.put(options, :seed, 2)).ids == response.ids
    end

    test "all options together give the same tokens for the same seed", %{lm: lm} do
      options =
        options(
          top_k: 40,
          top_p: 0.95,
          min_p: 0.001,
          min_tokens_to_keep: 3,
          xtc_probability: 0.5,
          logit_bias: %{7 => 2.0, 9 => -3},
          repetition_penalty: 1.1,
          presence_penalty: 0.1,
          frequency_penalty: 0.1,
          logprobs: 2
        )

      response = Mlx.LM.generate(lm, "abc", options)
      again = Mlx.LM.generate(lm, "abc", options)
      assert {again.ids, again.logprobs} == {response.ids, response.logprobs}
      refute Mlx.LM.generate(lm, "abc", Keyword.put(options, :seed, 6)).ids == response.ids
    end

    test "a bias forces a token and forbids one", %{lm: lm} do
      assert Mlx.LM.generate(lm, "abc", options(logit_bias: %{65 => 1.0e6}, max_tokens: 4)).text == "AAAA"
      forbidden = Map.new(Enum.to_list(0..258) -- [66], &{&1, -1.0e6})
      assert Mlx.LM.generate(lm, "abc", options(logit_bias: forbidden, max_tokens: 4)).text == "BBBB"
    end

    # The token has a probability of 0.73, and F has the rest.
    defp sure(token) do
      row = Mlx.array([for(id <- 0..258, do: %{token => 1.0, 70 => 0.0}[id] || -1.0e6)])

      [
        logits_processors: [fn _tokens, _logits -> row end],
        xtc_probability: 1.0,
        temperature: 1.0,
        seed: 1,
        max_tokens: 5
      ]
    end

    test "XTC spares end tokens and line breaks unless other tokens are given", %{lm: lm} do
      assert Mlx.LM.generate(lm, "abc", sure(10)).text =~ "\n"
      assert Mlx.LM.generate(lm, "abc", sure(258)).finish_reason == :stop
      assert Mlx.LM.generate(lm, "abc", sure(65)).text == "FFFFF"
      assert Mlx.LM.generate(lm, "abc", [xtc_special_tokens: []] ++ sure(10)).text == "FFFFF"
      assert Mlx.LM.generate(lm, "abc", [xtc_special_tokens: [65]] ++ sure(65)).text =~ "A"
    end
  end

  @wrong [
           :nan,
           :infinity,
           "1",
           ~c"1",
           {1},
           %{a: 1},
           [-1],
           [1.5],
           [:a | :b],
           [Integer.pow(10, 400)],
           0,
           -1,
           1.5,
           -1.0e308
         ] ++
           [-Integer.pow(10, 400)]

  @taken %{
    stop: [["a"], []],
    stop_ids: [[], ~c"1"],
    ignore_eos: [true, false],
    max_tokens: [1, Integer.pow(10, 400)],
    prefill_step: [1, Integer.pow(10, 400)],
    context: [],
    progress: []
  }

  test "wrong options are refused at once, and say what is expected", %{lm: lm} do
    for {name, taken} <- @taken, value <- @wrong -- taken do
      error = assert_raise ArgumentError, fn -> Mlx.LM.events(lm, "abc", [{name, value}]) end
      assert error.message =~ ~r/^Mlx.LM.events: expected #{inspect(name)} to be .*, got: /
    end

    for {name, values} <- @taken, value <- values do
      assert %Response{} =
               Mlx.LM.generate(lm, "abc", [{name, value}, {:stop, ["a", "e", " "]}] |> Keyword.put_new(:max_tokens, 5))
    end
  end

  test "wrong options of the sampler name the function that was called", %{lm: lm} do
    for name <- Sampler.options(), value <- [:nan, {1}, "1"] do
      error = assert_raise ArgumentError, fn -> Mlx.LM.stream(lm, "abc", [{name, value}]) end
      assert error.message =~ ~r/^Mlx.LM.stream: expected #{inspect(name)} to be .*, got: /
    end

    assert_raise ArgumentError, ~r/^Mlx.LM.stream: .*in the vocabulary, from 0 to 258, got: 259/, fn ->
      Mlx.LM.stream(lm, "abc", logit_bias: %{259 => 1.0})
    end
  end
end
