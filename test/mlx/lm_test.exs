defmodule Mlx.LMTest do
  use ExUnit.Case, async: true

  alias Mlx.LM.{Context, Decoder, Response}
  alias Mlx.TinyLlama

  @moduletag :tmp_dir

  @messages [%{role: "user", content: "Hello"}]

  setup %{tmp_dir: folder} do
    path = Path.join(folder, "tiny.gguf")
    TinyLlama.save(path)
    %{path: path, lm: Mlx.LM.load(path)}
  end

  # A seed for which the random model writes text of many bytes that are no characters.
  defp options(changes \\ []), do: Keyword.merge([temperature: 1.0, seed: 5, max_tokens: 60], changes)

  test "the stream's text is that of the response, in whole characters", %{lm: lm} do
    for seed <- 1..5 do
      parts = lm |> Mlx.LM.stream("abc", options(seed: seed)) |> Enum.to_list()
      response = Mlx.LM.generate(lm, "abc", options(seed: seed))
      assert length(parts) > 1
      assert Enum.all?(parts, &(String.valid?(&1) and &1 != ""))
      assert Enum.join(parts) == response.text
      assert Mlx.LM.Tokenizer.decode(lm.tokenizer, response.ids, special: false) == response.text
    end
  end

  test "the events end with the response", %{lm: lm} do
    events = lm |> Mlx.LM.events(@messages, options()) |> Enum.to_list()
    assert {:done, %Response{} = response} = List.last(events)
    assert Enum.all?(Enum.drop(events, -1), &match?({:text, _text}, &1))
    assert response.prompt_tokens == length(Mlx.LM.encode(lm, @messages))
    assert response.prompt_tokens_per_second > 0
    assert response.generation_tokens_per_second > 0
    assert response.peak_memory > 0
  end

  test "the same seed gives the same text each time the stream runs, in any process", %{lm: lm} do
    stream = Mlx.LM.stream(lm, "abc", options())
    text = Enum.join(stream)
    assert Enum.join(stream) == text
    assert Task.await(Task.async(fn -> Enum.join(stream) end)) == text
    refute lm |> Mlx.LM.stream("abc", options(seed: 6)) |> Enum.join() == text
  end

  test "a temperature of 0 is greedy", %{lm: lm} do
    %{ids: [first | _]} = Mlx.LM.generate(lm, [1, 2, 3], max_tokens: 5)
    {logits, _caches} = Decoder.call(lm.model, Mlx.array([[1, 2, 3]]), Decoder.caches(lm.model))
    assert first == logits |> Mlx.argmax() |> Mlx.to_number()
  end

  test "a stream can be left early", %{lm: lm} do
    assert [_, _] = lm |> Mlx.LM.stream("abc", options()) |> Enum.take(2)
    assert Enum.join(Mlx.LM.stream(lm, "abc", options())) != ""
  end

  test "a prompt that is read in parts gives the same", %{lm: lm} do
    prompt = Enum.map(1..100, &rem(&1 * 37, 256))
    whole = Mlx.LM.generate(lm, prompt, max_tokens: 20)
    assert Mlx.LM.generate(lm, prompt, max_tokens: 20, prefill_step: 7).ids == whole.ids
    assert Mlx.LM.generate(lm, prompt, max_tokens: 20, prefill_step: 1).ids == whole.ids
  end

  describe "an answer ends" do
    test "after the most tokens", %{lm: lm} do
      for count <- [1, 2, 7] do
        response = Mlx.LM.generate(lm, "abc", options(max_tokens: count))
        assert {length(response.ids), response.generated_tokens, response.finish_reason} == {count, count, :length}
      end

      assert Mlx.LM.generate(lm, "abc", options(max_tokens: 1)).generation_tokens_per_second == nil
    end

    test "at an end token, which is no part of it", %{lm: lm} do
      %{ids: ids} = Mlx.LM.generate(lm, "abc", options())
      stop = Enum.at(ids, 9)
      tokenizer = %{lm.tokenizer | end_ids: MapSet.new([stop])}
      response = Mlx.LM.generate(%{lm | tokenizer: tokenizer}, "abc", options())
      assert response.ids == Enum.take_while(ids, &(&1 != stop))
      assert {response.finish_reason, response.generated_tokens} == {:stop, length(response.ids) + 1}
    end

    test "before a stop string", %{lm: lm} do
      %{text: text} = Mlx.LM.generate(lm, "abc", options())
      stop = String.slice(text, 10, 3)
      [before | _] = String.split(text, stop)
      response = Mlx.LM.generate(lm, "abc", options(stop: [stop]))
      assert {response.text, response.finish_reason} == {before, :stop}
      assert lm |> Mlx.LM.stream("abc", options(stop: [stop])) |> Enum.join() == before
    end

    test "where the context is full", %{lm: lm} do
      prompt = List.duplicate(65, 595)
      response = Mlx.LM.generate(lm, prompt, options(max_tokens: 100))
      assert {length(response.ids), response.finish_reason} == {6, :length}
      assert length(Mlx.LM.generate(lm, List.duplicate(65, 600), options()).ids) == 1
    end
  end

  describe "a context" do
    test "holds all that was read", %{lm: lm} do
      response = Mlx.LM.generate(lm, [1, 2, 3], options(max_tokens: 5))
      assert response.context.ids == [1, 2, 3] ++ Enum.take(response.ids, 4)
      assert Enum.all?(response.context.caches, &(&1.length == 7))
    end

    test "saves the reading of what a prompt starts with, and changes nothing else", %{lm: lm} do
      first = Mlx.LM.generate(lm, @messages, options())
      more = @messages ++ [%{role: "assistant", content: first.text}, %{role: "user", content: "And then?"}]
      fresh = Mlx.LM.generate(lm, more, options())
      {kept, rest} = Context.reuse(first.context, Mlx.LM.encode(lm, more))
      assert length(kept.ids) >= length(Mlx.LM.encode(lm, @messages)) - 1
      assert kept.ids ++ rest == Mlx.LM.encode(lm, more)

      continued = Mlx.LM.generate(lm, more, options(context: first.context))
      assert continued.ids == fresh.ids
      assert continued.prompt_tokens == fresh.prompt_tokens
    end

    test "can be used for another prompt, and for the same one", %{lm: lm} do
      for prompt <- [[9, 8, 7], [1, 2, 3]] do
        context = Mlx.LM.generate(lm, [1, 2, 3], options()).context
        assert Mlx.LM.generate(lm, prompt, options(context: context)).ids == Mlx.LM.generate(lm, prompt, options()).ids
      end
    end

    test "can be used once", %{lm: lm} do
      context = Mlx.LM.generate(lm, [1, 2, 3], options()).context
      Mlx.LM.generate(lm, [1, 2, 3], options(context: context))
      assert_raise ArgumentError, fn -> Mlx.LM.generate(lm, [1, 2, 3], options(context: context)) end
    end
  end

  describe "a prompt" do
    test "of messages goes through the template", %{lm: lm} do
      assert Mlx.LM.encode(lm, @messages) == Mlx.LM.encode(lm, "user:Hello<|im_end|><|im_start|>")
    end

    test "gives variables to the template", %{lm: lm} do
      template =
        Mlx.LM.ChatTemplate.compile("{{ messages[0].content }}{{ mark }}{{ 1 if add_generation_prompt else 0 }}")

      lm = %{lm | template: template}
      assert Mlx.LM.encode(lm, @messages, template: [mark: "!"]) == Mlx.LM.encode(lm, "Hello!1")
      variables = [mark: "?", add_generation_prompt: false]
      response = Mlx.LM.generate(lm, @messages, options(template: variables))
      assert response.prompt_tokens == length(Mlx.LM.encode(lm, "Hello?0"))

      assert_raise ArgumentError, ~r/^Mlx.LM.encode: expected :template/, fn ->
        Mlx.LM.encode(lm, @messages, template: 1)
      end
    end

    test "must not be empty", %{lm: lm} do
      for prompt <- ["", []],
          do: assert_raise(ArgumentError, "Mlx.LM.stream: the prompt is empty", fn -> Mlx.LM.stream(lm, prompt) end)
    end

    test "must fit into the context", %{lm: lm} do
      assert_raise Mlx.Error, ~r/601 tokens.*context length of 600/, fn ->
        Mlx.LM.generate(lm, List.duplicate(65, 601))
      end
    end

    test "must have tokens of the vocabulary", %{lm: lm} do
      assert_raise ArgumentError, ~r/259/, fn -> Mlx.LM.generate(lm, [1, 259]) end
    end

    test "is nothing else", %{lm: lm} do
      assert_raise ArgumentError, ~r/expected the prompt/, fn -> Mlx.LM.generate(lm, :hello) end
    end

    test "has no messages where the file has no template", %{lm: lm} do
      assert_raise ArgumentError, ~r/tiny has no chat template/, fn ->
        Mlx.LM.generate(%{lm | template: nil}, @messages)
      end
    end
  end

  test "wrong options are refused before the model runs", %{lm: lm} do
    assert_raise ArgumentError, ~r/:max_tokens/, fn -> Mlx.LM.events(lm, "abc", max_tokens: 0) end
    assert_raise ArgumentError, ~r/:prefill_step/, fn -> Mlx.LM.events(lm, "abc", prefill_step: 1.5) end
    assert_raise ArgumentError, ~r/:temperature/, fn -> Mlx.LM.events(lm, "abc", temperature: -1) end
    assert_raise ArgumentError, ~r/:stop/, fn -> Mlx.LM.events(lm, "abc", stop: "x") end
    assert_raise ArgumentError, ~r/max_token\b/, fn -> Mlx.LM.events(lm, "abc", max_token: 1) end
  end

  describe "loading" do
    test "names the architectures when the file has another", %{tmp_dir: folder} do
      path = Path.join(folder, "other.gguf")
      TinyLlama.save(path, %{"general.architecture" => "mamba"})

      assert_raise Mlx.Error, ~r/other\.gguf: general\.architecture is "mamba", expected one of gemma,.* llama,/, fn ->
        Mlx.LM.load(path)
      end
    end

    test "names a file that is missing" do
      assert_raise Mlx.Error, ~r/nowhere\.gguf: no such file/, fn -> Mlx.LM.load("nowhere.gguf") end
    end

    test "takes the form of the weights", %{path: path} do
      lm = Mlx.LM.load(path, type: :bf16)
      assert lm.model.model.norm.weight.type == :bf16
      assert lm.name == "tiny"
      assert_raise ArgumentError, ~r/form/, fn -> Mlx.LM.load(path, form: :packed) end
      assert_raise Mlx.Error, ~r/^Mlx.LM.load: .*adapters are for/, fn -> Mlx.LM.load(path, adapter: "adapter") end
    end
  end

  test "several processes use one model at once", %{lm: lm} do
    texts =
      1..4
      |> Task.async_stream(fn seed -> Mlx.LM.generate(lm, "abc", options(seed: seed)).text end, timeout: 60_000)
      |> Enum.map(fn {:ok, text} -> text end)

    assert texts == for(seed <- 1..4, do: Mlx.LM.generate(lm, "abc", options(seed: seed)).text)
  end
end
