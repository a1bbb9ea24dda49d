defmodule Mlx.LM.Server.NestedCachesTest do
  # Models whose caches hold others, in batches, in the prompt cache, and in its files.
  use ExUnit.Case, async: true

  alias Mlx.LM.{Cache, Decoder, Decoding, Server}
  alias Mlx.LM.Server.{PromptFiles, Room}
  alias Mlx.{NestedCaches, TinyLlama}

  @moduletag :tmp_dir
  @moduletag timeout: 300_000

  defp tokens(count, seed) do
    :rand.seed(:exsss, seed)
    for _token <- 1..count, do: :rand.uniform(39)
  end

  # Prompts that begin with parts of one text, and how many tokens each asks for.
  defp requests(count) do
    start = tokens(60, 1)

    for number <- 1..count,
        do: {Enum.take(start, rem(number * 37, 61)) ++ tokens(1 + rem(number, 7), number), 1 + rem(number * 5, 23)}
  end

  defp lm(model, folder) do
    tiny = Path.join(folder, "tiny.gguf")
    TinyLlama.save(tiny)
    lm = Mlx.LM.load(tiny, type: :f32)
    %{lm | model: model, decode: Decoding.compile(model), tokenizer: %{lm.tokenizer | end_ids: MapSet.new()}}
  end

  for type <- NestedCaches.types() do
    test "requests to #{type} have the answers that they have alone", %{tmp_dir: folder} do
      Mlx.Random.seed(11)
      lm = unquote(type) |> NestedCaches.model() |> lm(folder)
      requests = requests(14)
      alone = for {prompt, most} <- requests, do: Mlx.LM.generate(lm, prompt, max_tokens: most).ids
      server = start_supervised!({Server, model: lm, prefill_step: 16})

      for at_once <- [4, 14] do
        answers =
          requests
          |> Task.async_stream(fn {prompt, most} -> Server.generate(server, prompt, max_tokens: most) end,
            max_concurrency: at_once,
            timeout: 240_000
          )
          |> Enum.map(fn {:ok, {:ok, response}} -> response.ids end)

        assert {at_once, answers} == {at_once, alone}
      end

      {prompt, most} = List.last(requests)
      {:ok, again} = Server.generate(server, prompt, max_tokens: most)
      assert {again.ids, again.cached_tokens} == {List.last(alone), length(prompt) - 1}
      next = prompt ++ again.ids ++ [1, 2, 3]
      {:ok, response} = Server.generate(server, next, max_tokens: 8)
      assert response.ids == Mlx.LM.generate(lm, next, max_tokens: 8).ids
      assert response.cached_tokens >= length(prompt)

      kept = Path.join(folder, "kept")
      assert Server.save_prompts(server, kept) > 0
      contexts = PromptFiles.load(kept, lm.model)
      assert length(contexts) == length(File.ls!(kept))

      for context <- contexts do
        response = Mlx.LM.generate(lm, context.ids ++ [5, 6], context: context, max_tokens: 5)
        assert response.ids == Mlx.LM.generate(lm, context.ids ++ [5, 6], max_tokens: 5).ids
      end
    end

    test "the memory that #{type} is given is no less than what its caches take" do
      model = NestedCaches.model(unquote(type))
      room = Room.new([model], %{memory: 1})

      for length <- [1, 5, 8, 30, 300] do
        {_logits, caches} = Decoder.call(model, Mlx.array([tokens(length, 3)]), Decoder.caches(model))
        caches = Enum.map(caches, &Cache.make_room(&1, 1))
        taken = caches |> Mlx.Tree.arrays() |> Enum.map(&Mlx.byte_size/1) |> Enum.sum()
        given = Room.bytes(room, 1, length + 1)
        assert {length, given >= taken, given <= 2 * taken + 65_536} == {length, true, true}
      end
    end
  end
end
