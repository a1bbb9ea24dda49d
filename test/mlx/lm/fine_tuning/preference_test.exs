defmodule Mlx.LM.FineTuning.PreferenceTest do
  use ExUnit.Case, async: true

  alias Mlx.LM.{FineTuning, TrainingData}
  alias Mlx.LM.FineTuning.Preference
  alias Mlx.Optimizers.Adam
  alias Mlx.TinyLlama

  @moduletag :tmp_dir

  setup_all do
    folder = Path.join(System.tmp_dir!(), "mlx-preference-#{System.unique_integer([:positive])}")
    File.mkdir_p!(folder)
    on_exit(fn -> File.rm_rf!(folder) end)
    TinyLlama.save(Path.join(folder, "tiny.gguf"))
    Mlx.LM.convert(Path.join(folder, "tiny.gguf"), Path.join(folder, "model"), type: :f32)
    %{model: Path.join(folder, "model")}
  end

  # Who is asked in lower case is to answer in lower case.
  defp pairs(folder, count \\ 12) do
    lines =
      for number <- 1..count, word = Enum.at(~w(yes no may be so ok), rem(number, 6)) do
        JSON.encode!(%{prompt: "q#{number}", chosen: word, rejected: String.upcase(word) <> "!"})
      end

    path = Path.join(folder, "pairs.jsonl")
    File.write!(path, Enum.join(lines, "\n"))
    path
  end

  defp sigmoid(x), do: 1 / (1 + :math.exp(-x))

  test "the losses are the formulas of the papers" do
    :rand.seed(:exsss, 3)
    policy = for _ <- 1..20, do: {-40 * :rand.uniform(), -40 * :rand.uniform()}
    reference = for _ <- 1..20, do: {-40 * :rand.uniform(), -40 * :rand.uniform()}
    tokens = for _ <- 1..20, do: {:rand.uniform(9), :rand.uniform(9)}
    arrays = fn rows -> for place <- [0, 1], do: Mlx.array(Enum.map(rows, &elem(&1, place)), type: :f32) end
    [chosen_tokens, rejected_tokens] = arrays.(tokens)

    [own, other] =
      for rows <- [policy, reference], [chosen, rejected] = arrays.(rows) do
        %{chosen: chosen, rejected: rejected, chosen_tokens: chosen_tokens, rejected_tokens: rejected_tokens}
      end

    dpo =
      for {{pw, pl}, {rw, rl}} <- Enum.zip(policy, reference),
          margin = 0.3 * (pw - rw - (pl - rl)),
          do: {-:math.log(sigmoid(margin)), margin}

    orpo =
      for {{pw, pl}, {tw, tl}} <- Enum.zip(policy, tokens) do
        {chosen, rejected} = {pw / tw, pl / tl}
        odds = fn log -> :math.exp(log) / (1 - :math.exp(log)) end
        margin = :math.log(odds.(chosen) / odds.(rejected))
        {-chosen - 0.3 * :math.log(sigmoid(margin)), margin}
      end

    for {result, expected} <- [{Preference.dpo(own, other, 0.3), dpo}, {Preference.orpo(own, 0.3), orpo}] do
      for {name, place} <- [loss: 0, margin: 1],
          {ours, row} <- Enum.zip(Mlx.to_list(result[name]), expected),
          do: assert_in_delta(ours, elem(row, place), 1.0e-4)
    end
  end

  test "losses and gradients of certain and impossible answers are finite" do
    tokens = Mlx.array([1.0, 1.0])

    for {chosen, rejected} <- [{[0.0, -1.0e4], [-1.0e4, 0.0]}] do
      loss = fn chosen, rejected ->
        policy = %{chosen: chosen, rejected: rejected, chosen_tokens: tokens, rejected_tokens: tokens}
        reference = %{policy | chosen: tokens, rejected: tokens}
        Mlx.sum(Mlx.add(Preference.dpo(policy, reference, 0.1).loss, Preference.orpo(policy, 0.1).loss))
      end

      {value, gradients} = Mlx.value_and_grad(loss, argnums: [0, 1]).(Mlx.array(chosen), Mlx.array(rejected))
      assert is_float(Mlx.to_number(value))
      for gradient <- gradients |> Mlx.Tree.arrays(), number <- Mlx.to_list(gradient), do: assert(is_float(number))
    end
  end

  test "a file of pairs becomes batches whose prompts do not count", %{model: model, tmp_dir: folder} do
    tuning = FineTuning.load(model)
    data = TrainingData.open(pairs(folder), tuning)
    assert data.pairs and data.count == 12
    # "user:q1<|im_end|><|im_start|>"
    assert [{chosen, 9}, {rejected, 9}] = TrainingData.fetch(data, 0)
    assert Mlx.LM.Tokenizer.decode(tuning.tokenizer, chosen) == "user:q1<|im_end|>assistant:no<|im_end|>"
    assert Mlx.LM.Tokenizer.decode(tuning.tokenizer, rejected) == "user:q1<|im_end|>assistant:NO!<|im_end|>"
    [batch | _] = Enum.to_list(TrainingData.batches(data, 3))
    assert batch.ids.shape == {3, 2, 33}
    assert Mlx.to_list(batch.from) == [[9, 9], [9, 9], [9, 9]]
    assert [[to, other] | _] = Mlx.to_list(batch.to)
    assert {to, other} == {length(chosen), length(rejected)}

    lists = [
      %{messages: [%{role: "user", content: "q1"}], chosen: [%{role: "assistant", content: "no"}], rejected: "NO!"}
    ]

    File.write!(Path.join(folder, "lists.jsonl"), Enum.map(lists, &JSON.encode!/1))
    lists = TrainingData.open(Path.join(folder, "lists.jsonl"), tuning)
    assert TrainingData.fetch(lists, 0) == TrainingData.fetch(data, 0)
  end

  test "what is wrong with a line of pairs is told with its number", %{model: model, tmp_dir: folder} do
    tuning = FineTuning.load(model)
    pair = %{prompt: "a", chosen: "b", rejected: "c"}

    for {line, message} <- [
          {Map.delete(pair, :rejected), ~s(expected "chosen" and "rejected")},
          {Map.delete(pair, :prompt), ~s(expected "prompt" or "messages")},
          {%{pair | chosen: 5}, ~s(expected "chosen" to be a string or a list of messages, got: 5)},
          {%{pair | rejected: []}, ~s(expected "rejected" to be)},
          {%{pair | prompt: 5}, "expected messages to be a list"},
          {%{pair | prompt: String.duplicate("a", 60)}, "leaves nothing of the answers within :max_length, 40"},
          {%{text: "t"}, "has no pair of answers, and the lines before it have one"}
        ] do
      path = Path.join(folder, "wrong.jsonl")
      File.write!(path, [JSON.encode!(pair), "\n", JSON.encode!(line)])
      error = assert_raise Mlx.Error, fn -> TrainingData.open(path, tuning, max_length: 40) end
      assert error.message =~ "Mlx.LM.TrainingData.open: #{path}, line 2: "
      assert error.message =~ message
    end

    data = TrainingData.open(pairs(folder), tuning)

    assert_raise ArgumentError, ~r/train: expected lines without "chosen".* for the objective :likelihood/, fn ->
      FineTuning.train(tuning, data, Adam.new(0.001), steps: 1, progress: nil)
    end

    batches = [%{ids: Mlx.zeros({1, 9}, type: :s32)}]

    assert_raise ArgumentError,
                 ~r/evaluate: expected batches whose ids are {size, 2, length} for the objective :orpo, got ids of the shape {1, 9}/,
                 fn ->
                   FineTuning.evaluate(tuning, batches, objective: :orpo)
                 end

    assert_raise ArgumentError, ~r/loss: expected batches whose ids are {size, length} for the objective :likeli/, fn ->
      FineTuning.loss(tuning, TrainingData.batches(data, 4))
    end

    full = FineTuning.load(model, kind: :full, layers: 1)

    assert_raise ArgumentError, ~r/evaluate: expected :reference/, fn ->
      FineTuning.evaluate(full, TrainingData.batches(data, 4), objective: :dpo)
    end
  end

  test "trainings lower the loss and raise the margin and the accuracy", %{model: model, tmp_dir: folder} do
    for {kind, objective} <- [lora: :dpo, lora: :orpo, full: :dpo] do
      tuning = FineTuning.load(model, kind: kind, layers: 1, rank: 4, seed: 1)
      data = TrainingData.open(pairs(folder, 8), tuning)
      options = [objective: objective, validation: data, validate_every: 20]
      options = options ++ [steps: 20, batch_size: 4, seed: 2, progress: nil]
      {tuned, training} = FineTuning.train(tuning, data, Adam.new(0.01), options)
      [{20, last}, {0, first}] = training.validations
      assert last.loss < 0.7 * first.loss
      assert last.margin > first.margin + 0.3
      assert last.accuracy == 1.0

      if objective == :dpo do
        # A model that has learnt nothing is its reference.
        assert_in_delta first.loss, :math.log(2), 1.0e-5
        assert_in_delta first.margin, 0.0, 1.0e-4
      end

      reference = if kind == :full, do: [reference: tuning], else: []
      now = FineTuning.evaluate(tuned, TrainingData.batches(data, 4), [objective: objective] ++ reference)
      for name <- [:loss, :margin, :accuracy], do: assert_in_delta(now[name], last[name], 1.0e-3)
    end
  end
end
