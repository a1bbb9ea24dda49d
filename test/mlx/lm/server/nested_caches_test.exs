defmodule Mlx.LM.Server.NestedCachesTest do
  # Models whose caches hold others, in batches, in the prompt cache, and in its files.
  use ExUnit.Case, async: true

  alias Mlx.LM.{Cache, Decoder, Server}
  alias Mlx.LM.Server.{PromptFiles, Room}
  alias Mlx.{NestedCaches, ServedModels}

  @moduletag :tmp_dir
  @moduletag timeout: 300_000

  for type <- NestedCaches.types() do
    test "requests to #{type} have the answers that they have alone", %{tmp_dir: folder} do
      Mlx.Random.seed(11)
      lm = unquote(type) |> NestedCaches.model() |> ServedModels.lm(folder)
      requests = ServedModels.branching(14, 60, 23, 40)
      alone = ServedModels.alone(lm, requests)
      server = start_supervised!({Server, model: lm, prefill_step: 16})

      for at_once <- [4, 14],
          do: assert({at_once, ServedModels.together(server, requests, at_once)} == {at_once, alone})

      {prompt, most} = List.last(requests)
      {:ok, again} = Server.generate(server, prompt, max_tokens: most)
      assert {again.ids, again.cached_tokens} == {List.last(alone).ids, length(prompt) - 1}
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
        {_logits, caches} = Decoder.call(model, Mlx.array([ServedModels.tokens(length, 3, 40)]), Decoder.caches(model))
        caches = Enum.map(caches, &Cache.make_room(&1, 1))
        taken = caches |> Mlx.Tree.arrays() |> Enum.map(&Mlx.byte_size/1) |> Enum.sum()
        given = Room.bytes(room, 1, length + 1)
        assert {length, given >= taken, given <= 2 * taken + 65_536} == {length, true, true}
      end
    end
  end
end
