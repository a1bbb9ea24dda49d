defmodule Mlx.LM.Server.FamiliesTest do
  # Models of all kinds in batches: each row computes what it computes alone.
  use ExUnit.Case, async: true

  import Mlx.Test.DecoderOutputs, only: [distance: 2]

  alias Mlx.LM.{Checkpoint, Decoder, Server}
  alias Mlx.LM.Server.Batch
  alias Mlx.ServedModels

  @moduletag :oracle
  @moduletag :tmp_dir
  # Three minutes on two cores that do nothing else.
  @moduletag timeout: 1_800_000

  @tolerance 1.0e-4
  @lengths [5, 40, 17, 1, 60]
  @steps 6

  # One that attends, one of experts, one with windows and soft caps, recurrent ones, one with both, and those of caches that
  # hold others.
  @served ~w(llama qwen3_moe gemma2 gemma3_text gpt_oss mamba2 rwkv7 recurrent_gemma qwen3_next baichuan_m1 minimax_m3_vl)

  # One of each kind, of which more is asked. bin/stress answers asks for more still.
  @closely ~w(llama qwen3_moe gemma3_text mamba2)

  # Of different kinds of attention and of positions, whose caches have all positions.
  @checked ~w(llama qwen3_moe gpt2 deepseek_v3 deepseek_v32 llama4_text gemma)

  setup %{tmp_dir: folder} = context do
    ServedModels.write_families(folder, context[:cases] || [])
    cases = folder |> File.ls!() |> Enum.reject(&(&1 =~ ~r/-4bit$|-hf$/)) |> Enum.sort()
    %{cases: cases}
  end

  # They are below the sizes of all vocabularies.
  defp tokens(count, seed), do: ServedModels.tokens(count, seed, 99)

  # The logits after each of some greedy tokens, alone.
  defp alone(model, ids) do
    {logits, caches} = Decoder.call(model, Mlx.array([ids]), Decoder.caches(model))

    {steps, _last} =
      Enum.map_reduce(1..@steps, {logits, caches}, fn _step, {logits, caches} ->
        next = Decoder.call(model, Mlx.new_axis(Mlx.argmax(logits, axis: -1), 0), caches)
        {elem(next, 0), next}
      end)

    steps
  end

  defp joined(model, prompts) do
    for {ids, ref} <- prompts, reduce: Batch.new(model, Batch.compile(model)) do
      batch ->
        {logits, caches} = Decoder.call(model, Mlx.array([ids]), Decoder.caches(model))
        token = Mlx.as_type(Mlx.argmax(logits, axis: -1), :s32)
        Batch.join(batch, ref, Mlx.eval(caches), length(ids), token)
    end
  end

  defp farthest(model) do
    prompts = for {length, seed} <- Enum.with_index(@lengths), do: {tokens(length, seed), make_ref()}
    expected = for {ids, ref} <- prompts, into: %{}, do: {ref, alone(model, ids)}

    {distances, _batch} =
      Enum.map_reduce(0..(@steps - 1), joined(model, prompts), fn step, batch ->
        {greedy, logits, batch} = Batch.step(batch)

        distances =
          for {ref, steps} <- expected do
            row = Mlx.take(logits, Mlx.array([Batch.slot(batch, ref)]), axis: 0)
            distance(row, Enum.at(steps, step))
          end

        {Enum.max(distances), Batch.put_tokens(batch, greedy)}
      end)

    Enum.max(distances)
  end

  test "rows of different lengths have the logits that they have alone", %{cases: cases, tmp_dir: folder} do
    assert length(cases) > 100

    wrong =
      for name <- cases,
          distance = farthest(Checkpoint.load(Path.join(folder, name))),
          not (distance <= @tolerance),
          do: {name, distance}

    assert wrong == []
  end

  @tag cases: @served
  test "servers give the answers that each request has alone, also with what other prompts began with",
       %{cases: cases, tmp_dir: folder} do
    assert @served -- cases == []

    for name <- cases do
      {count, at_once} = if name in @closely, do: {40, [1, 4, 16, 32]}, else: {24, [4, 16]}
      requests = ServedModels.branching(count, 90, 13, 99)
      lm = folder |> Path.join(name) |> Checkpoint.load() |> ServedModels.lm(folder)
      alone = ServedModels.alone(lm, requests)
      server = start_supervised!({Server, model: lm, prefill_step: 32})

      for at_once <- at_once do
        answers = ServedModels.together(server, requests, at_once)
        assert {name, at_once, answers} == {name, at_once, alone}
      end

      # The same again, a prompt with its answer, and the turn after it.
      {prompt, most} = List.last(requests)
      {:ok, again} = Server.generate(server, prompt, max_tokens: most)
      assert {name, again.ids, again.cached_tokens} == {name, List.last(alone).ids, length(prompt) - 1}
      next = prompt ++ again.ids ++ [1, 2, 3]
      {:ok, response} = Server.generate(server, next, max_tokens: 8)
      assert response.ids == Mlx.LM.generate(lm, next, max_tokens: 8).ids
      assert {name, response.cached_tokens >= length(prompt)} == {name, true}

      # What is kept has the form of contexts of the model.
      kept = Path.join(folder, "#{name}-kept")
      assert Server.save_prompts(server, kept) > 0
      assert length(Server.PromptFiles.load(kept, lm.model)) == length(File.ls!(kept))
      stop_supervised!(Server)
    end
  end

  # The logits after each of several tokens, of rows of different lengths in a batch and of one row, beside those alone.
  defp farthest_checked(model) do
    prompts = for {length, seed} <- Enum.with_index(@lengths), do: {tokens(length, seed), make_ref()}

    for prompts <- [prompts, Enum.take(prompts, 1)] do
      batch = joined(model, prompts)

      drafts =
        for {{_ids, ref}, seed} <- Enum.with_index(prompts),
            into: %{},
            do: {Batch.slot(batch, ref), tokens(4, seed + 9)}

      ids = for slot <- 0..(batch.slots - 1), do: Map.get(drafts, slot, [0, 0, 0, 0])
      # What was checked and not accepted is forgotten.
      {_greedy, _logits, batch} = Batch.check(batch, Mlx.array(Enum.map(ids, &Enum.reverse/1)))
      {_greedy, logits, _batch} = Batch.check(batch, Mlx.array(ids))

      for {ids, ref} <- prompts, slot = Batch.slot(batch, ref) do
        {_logits, caches} = Decoder.call(model, Mlx.array([ids]), Decoder.caches(model))
        {expected, _caches} = Decoder.logits(model, Mlx.array([drafts[slot]]), caches)
        distance(Mlx.take(logits, Mlx.array([slot]), axis: 0), expected)
      end
    end
    |> List.flatten()
    |> Enum.max()
  end

  # The logits after prompts of different lengths that are read together, from the start and from a length on.
  defp farthest_padded(model) do
    prompts = for {length, seed} <- Enum.with_index(@lengths), do: tokens(length, seed)
    ids = for prompt <- prompts, do: prompt ++ List.duplicate(0, Enum.max(@lengths) - length(prompt))

    for start <- [0, 9] do
      {logits, _caches} = Decoder.call_padded(model, Mlx.array(ids), read(model, start, length(ids)), @lengths)

      for {prompt, row} <- Enum.with_index(prompts) do
        {expected, _caches} = Decoder.call(model, Mlx.array([prompt]), read(model, start, 1))
        distance(Mlx.take(logits, Mlx.array([row]), axis: 0), expected)
      end
    end
    |> List.flatten()
    |> Enum.max()
  end

  # Caches that have read so many tokens of each row.
  defp read(model, 0, _rows), do: Decoder.caches(model)

  defp read(model, count, rows) do
    ids = Mlx.array(List.duplicate(tokens(count, 3), rows))
    {_x, caches} = Decoder.hidden(model, ids, Decoder.caches(model))
    caches
  end

  @tag cases: @checked
  test "several tokens of rows of different lengths are read at once as alone", %{tmp_dir: folder, cases: cases} do
    far =
      for name <- cases,
          model = Checkpoint.load(Path.join(folder, name), form: :dense, type: :f32),
          Batch.forgets?(model),
          do: {name, max(farthest_checked(model), farthest_padded(model))}

    assert length(far) > 4
    assert Enum.filter(far, fn {_name, distance} -> not (distance < @tolerance) end) == []
  end
end
