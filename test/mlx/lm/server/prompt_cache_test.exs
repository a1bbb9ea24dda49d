defmodule Mlx.LM.Server.PromptCacheTest do
  use ExUnit.Case, async: true

  alias Mlx.LM.Server
  alias Mlx.ServedModels

  @moduletag :tmp_dir

  setup %{tmp_dir: folder}, do: %{lm: ServedModels.llama(folder)}

  defp answer(server, prompt, options \\ []) do
    {:ok, response} = Server.generate(server, prompt, options ++ [max_tokens: 8])
    response
  end

  defp tokens(count, seed), do: ServedModels.tokens(count, seed, 257)

  test "what prompts and answers have in common is read once, and the answers are the same", %{lm: lm} do
    server = start_supervised!({Server, model: lm})
    start = tokens(300, 1)
    first = answer(server, start)
    assert first.cached_tokens == 0

    for {prompt, cached} <- [
          # the same again, of which the last token is read
          {start, 299},
          # a prompt that goes on behind the answer, whose last token was not read
          {start ++ first.ids ++ [5, 6], 307},
          {Enum.take(start, 200) ++ [7, 8, 9], 200},
          {Enum.take(start, 100), 99},
          {[300 - 50 | start], 0},
          {start ++ first.ids ++ [5, 6, 7], 310}
        ] do
      response = answer(server, prompt)
      assert response.ids == Mlx.LM.generate(lm, prompt, max_tokens: 8).ids
      assert response.cached_tokens in [cached, cached - 1]
    end

    assert Server.info(server).counters.cached_tokens > 1200
  end

  test "requests at once that share a prefix leave each other's caches alone", %{lm: lm} do
    server = start_supervised!({Server, model: lm, prefill_step: 64})
    start = tokens(250, 2)
    answer(server, start)
    prompts = for seed <- 1..24, do: Enum.take(start, rem(seed * 37, 250) + 1) ++ tokens(5, seed)
    expected = for prompt <- prompts, do: Mlx.LM.generate(lm, prompt, max_tokens: 20).ids

    for _round <- 1..2 do
      answers =
        prompts
        |> Task.async_stream(&answer(server, &1, max_tokens: 20).ids, max_concurrency: 12, timeout: 120_000)
        |> Enum.map(&elem(&1, 1))

      assert answers == expected
    end
  end

  test "a prompt is read once for all that come with it", %{lm: lm} do
    server = start_supervised!({Server, model: lm, prefill_step: 256})
    start = tokens(200, 4)

    refs =
      for seed <- 1..6 do
        {:ok, ref} = Server.submit(server, start ++ tokens(3, seed), max_tokens: 12)
        ref
      end

    responses =
      for ref <- refs do
        assert_receive {Server, ^ref, {:done, response}}, 60_000
        response
      end

    assert Enum.count(responses, &(&1.cached_tokens >= 200)) == 5

    for {response, seed} <- Enum.with_index(responses, 1) do
      assert response.ids == Mlx.LM.generate(lm, start ++ tokens(3, seed), max_tokens: 12).ids
    end
  end

  test "the end of the first message serves prompts with the same one", %{lm: lm} do
    about = Server.About.put(lm)
    messages = for text <- ["system", "one", "two"], do: %{role: "user", content: text}
    ids = Mlx.LM.encode(lm, messages)

    ends =
      for count <- [1, 2],
          do: length(Mlx.LM.encode(lm, Enum.take(messages, count), template: [add_generation_prompt: false]))

    assert Server.About.borders(about, messages, ids, []) == ends
    assert Server.About.borders(about, Enum.take(messages, 1), ids, []) == []
    assert Server.About.borders(about, "text", [1, 2], []) == []
  end

  @tag :capture_log
  test "is written to a folder, and read by another server", %{lm: lm, tmp_dir: folder} do
    server = start_supervised!({Server, model: lm})
    [a, b] = for seed <- 1..2, do: tokens(300, seed)
    first = for prompt <- [a, b], do: answer(server, prompt).ids
    kept = Path.join(folder, "kept")
    assert Server.save_prompts(server, kept) == 2
    assert length(File.ls!(kept)) == 2
    path = Path.join(folder, "tiny.gguf")
    assert %Server.Error{reason: :failed} = catch_error(Server.save_prompts(server, Path.join(path, "below")))
    stop_supervised!(Server)

    server = start_supervised!({Server, model: lm, prompts: kept})
    again = for prompt <- [a, b], do: answer(server, prompt)
    assert Enum.map(again, & &1.ids) == first
    assert Enum.map(again, & &1.cached_tokens) == [299, 299]
    stop_supervised!(Server)

    File.write!(Path.join(kept, "damaged.safetensors"), "nothing")
    Process.flag(:trap_exit, true)
    assert {:error, {%Mlx.Error{message: message}, _stacktrace}} = Server.start_link(model: lm, prompts: kept)
    assert message =~ "damaged.safetensors"

    assert_raise ArgumentError, ~r/expected :prompts to be the path of a folder/, fn ->
      Server.start_link(model: lm, prompts: 1)
    end
  end

  test "what was used the longest time ago goes first, and nothing is kept where nothing may be", %{lm: lm} do
    # Keys and values of 2 layers with 2 heads of 16 features, for 256 positions.
    bytes = 2 * 2 * 2 * 16 * 4 * 256
    server = start_supervised!({Server, model: lm, prompt_cache: 2 * bytes})
    [a, b, c] = for seed <- 1..3, do: tokens(50, seed)
    for prompt <- [a, b, a, c], do: answer(server, prompt)
    assert answer(server, c).cached_tokens == 49
    assert answer(server, a).cached_tokens == 49
    assert answer(server, b).cached_tokens == 0
    stop_supervised!(Server)

    server = start_supervised!({Server, model: lm, prompt_cache: 0})
    assert [0, 0] = for(_time <- 1..2, do: answer(server, a).cached_tokens)
  end
end
