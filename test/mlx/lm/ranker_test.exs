defmodule Mlx.LM.RankerTest do
  use ExUnit.Case, async: true

  alias Mlx.TinyEncoder
  alias Mlx.LM.Encoder.Text
  alias Mlx.LM.Ranker

  @moduletag :tmp_dir
  @tolerance 1.0e-5

  @documents ["Berlin has many inhabitants", "", "pasta", "a long text about nothing at all that is cut"]

  defp distance(a, b), do: a |> Mlx.subtract(b) |> Mlx.abs() |> Mlx.reduce_max() |> Mlx.to_number()

  defp load(folder, changes \\ %{}, options \\ []) do
    changes = Map.merge(%{"num_labels" => 1, "architectures" => ["BertForSequenceClassification"]}, changes)
    Ranker.load(TinyEncoder.save(folder, changes), [tokenizer: &TinyEncoder.encode/1] ++ options)
  end

  test "sorts documents by their scores", %{tmp_dir: folder} do
    ranker = load(folder)
    ranked = Ranker.rank(ranker, "how many", @documents)
    assert Enum.sort(for %{index: index} <- ranked, do: index) == [0, 1, 2, 3]
    scores = for %{score: score} <- ranked, do: score
    assert scores == Enum.sort(scores, :desc)
    for %{index: index, document: document} <- ranked, do: assert(Enum.at(@documents, index) == document)
    assert Ranker.rank(ranker, "how many", @documents, top: 2) == Enum.take(ranked, 2)
    assert Ranker.rank(ranker, "how many", []) == []

    all = Ranker.scores(ranker, for(document <- @documents, do: {"how many", document}))
    assert {all.shape, all.type} == {{4, 1}, :f32}
    for %{index: index, score: score} <- ranked, do: assert_in_delta(Mlx.to_number(all[[index, 0]]), score, 1.0e-6)
    assert Ranker.scores(ranker, []).shape == {0, 1}
  end

  test "gives the same scores one by one and together", %{tmp_dir: folder} do
    ranker = load(folder)
    pairs = for document <- @documents, do: {"how many", document}
    all = Ranker.scores(ranker, pairs, batch_size: 3)
    assert distance(all, Mlx.concatenate(for pair <- pairs, do: Ranker.scores(ranker, [pair]))) < @tolerance
    turned = Ranker.scores(ranker, for({a, b} <- pairs, do: {b, a}))
    assert distance(all, turned) > 1.0e-4
  end

  test "gives probabilities by the activation of the files", %{tmp_dir: folder} do
    pairs = [{"a", "b"}]
    ranker = load(folder)
    assert ranker.activation == :sigmoid
    raw = Ranker.scores(ranker, pairs, activation: :none)
    assert distance(Ranker.scores(ranker, pairs), Mlx.sigmoid(raw)) < @tolerance

    for {changes, activation} <- [
          {%{"num_labels" => 3}, :none},
          {%{"id2label" => %{"0" => "a", "1" => "b"}}, :none},
          {%{"sentence_transformers" => %{"activation_fn" => "torch.nn.modules.linear.Identity"}}, :none},
          {%{"num_labels" => 2, "sbert_ce_default_activation_function" => "torch.nn.modules.activation.Sigmoid"},
           :sigmoid}
        ] do
      assert load(folder, changes).activation == activation
    end

    error = assert_raise Mlx.Error, fn -> load(folder, %{"sbert_ce_default_activation_function" => "os.system"}) end

    assert Exception.message(error) =~
             "Mlx.LM.Ranker.load: config.json: the activation of the scores is \"os.system\", expected"
  end

  test "has a score for each label", %{tmp_dir: folder} do
    ranker = load(folder, %{"num_labels" => 3})
    assert ranker.labels == 3
    scores = Ranker.scores(ranker, [{"a", "b"}])
    assert scores.shape == {1, 3}
    assert [%{score: score}] = Ranker.rank(ranker, "a", ["b"], label: 2)
    assert_in_delta score, Mlx.to_number(scores[[0, 2]]), 1.0e-6

    assert_raise ArgumentError, ~r/expected :label to be an integer from 0 to 2, got: nil/, fn ->
      Ranker.rank(ranker, "a", ["b"])
    end
  end

  for {call, said} <- [
        {quote(do: fn ranker -> Ranker.rank(ranker, "a", ["b", 5]) end),
         "Mlx.LM.Ranker.rank: expected documents to be strings, got: 5"},
        {quote(do: fn ranker -> Ranker.rank(ranker, "a", ["b"], top: 0) end),
         "Mlx.LM.Ranker.rank: expected :top to be a positive integer, got: 0"},
        {quote(do: fn ranker -> Ranker.rank(ranker, "a", ["b"], label: 1) end),
         "expected :label to be an integer from 0 to 0, got: 1"},
        {quote(do: fn ranker -> Ranker.scores(ranker, ["b"]) end),
         "Mlx.LM.Ranker.scores: expected pairs of strings, got: \"b\""},
        {quote(do: fn ranker -> Ranker.scores(ranker, [{"a", "b"}], activation: :tanh) end),
         "expected :activation to be :none or :sigmoid, got: :tanh"},
        {quote(do: fn ranker -> Ranker.scores(ranker, [{"a", "b"}], max_length: 3) end),
         "expected :max_length to be more than 3"},
        {quote(do: fn ranker -> Ranker.score_ids(ranker, [{[1, 2], [0]}]) end),
         "expected tokens with a type of 0 or 1 for each"},
        {quote(do: fn ranker -> Ranker.score_ids(ranker, [{[1, 2], [0, 2]}]) end),
         "expected tokens with a type of 0 or 1 for each"},
        {quote(do: fn ranker -> Ranker.score_ids(ranker, [{[1, 99], nil}]) end),
         "Mlx.LM.Ranker.score_ids: expected tokens from 0 to 59, got: 99 at 0"},
        {quote(do: fn ranker -> Ranker.score_ids(ranker, [5]) end), "expected tokens with a type"}
      ] do
    test "refuses #{Macro.to_string(call)}", %{tmp_dir: folder} do
      ranker = load(folder)
      error = assert_raise ArgumentError, fn -> unquote(call).(ranker) end
      assert error.message =~ unquote(said)
    end
  end

  describe "a pair" do
    defp text(changes \\ []) do
      config =
        struct!(
          %Mlx.LM.Encoder.Config{
            vocab_size: 60,
            hidden_size: 16,
            intermediate_size: 24,
            heads: 2,
            norm_eps: 1.0e-5,
            max_length: 40,
            layers: [],
            token_types: 2
          },
          changes
        )

      Text.new(&TinyEncoder.encode/1, "", config, :"LM.Ranker.load")
    end

    # The tokens of a, b, c and so on.
    defp ids(letters), do: for(<<letter <- letters>>, do: 5 + rem(letter, 55))

    test "has its special tokens and types" do
      assert {ids, types} = Text.pair(text(), {"ab", "c"}, 40)
      assert ids == [2] ++ ids("ab") ++ [3] ++ ids("c") ++ [3]
      assert types == [0, 0, 0, 0, 1, 1]
      assert {ids, nil} = Text.pair(text(separators: 2, token_types: 1), {"ab", "c"}, 40)
      assert ids == [2] ++ ids("ab") ++ [3, 3] ++ ids("c") ++ [3]
      assert Text.special_of_pair(text(separators: 2)) == 4
    end

    # The tokenizers library, by `longest_first`.
    for {a, b, length, lengths} <- [
          {"abcdefgh", "ij", 9, {4, 2}},
          {"ab", "cdefghij", 9, {2, 4}},
          {"abcdefgh", "ijklmnop", 9, {3, 3}},
          {"abcdefgh", "ijklmnop", 10, {3, 4}},
          {"abcdefgh", "ijklmno", 10, {4, 3}},
          {"abcdefgh", "ijklm", 10, {4, 3}},
          {"abcdefgh", "", 9, {6, 0}},
          {"abc", "def", 9, {3, 3}}
        ] do
      test "of #{inspect(a)} and #{inspect(b)} in #{length} tokens has #{inspect(lengths)} of them" do
        {a, b, {first, second}} = {unquote(a), unquote(b), unquote(Macro.escape(lengths))}
        {ids, _types} = Text.pair(text(), {a, b}, unquote(length))
        assert ids == [2] ++ ids(String.slice(a, 0, first)) ++ [3] ++ ids(String.slice(b, 0, second)) ++ [3]
      end
    end
  end
end
