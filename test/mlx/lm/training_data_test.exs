defmodule Mlx.LM.TrainingDataTest do
  use ExUnit.Case, async: true

  alias Mlx.LM.{Tokenizer, TrainingData}
  alias Mlx.TinyLlama

  doctest TrainingData

  @moduletag :tmp_dir

  setup_all do
    path = Path.join(System.tmp_dir!(), "mlx-data-#{System.unique_integer([:positive])}.gguf")
    TinyLlama.save(path)
    lm = Mlx.LM.load(path)
    File.rm!(path)
    %{lm: lm}
  end

  defp file(folder, lines) do
    path = Path.join(folder, "texts.jsonl")
    File.write!(path, Enum.map(lines, &[if(is_binary(&1), do: &1, else: JSON.encode!(&1)), "\n"]))
    path
  end

  defp text(lm, data, number),
    do: Tokenizer.decode(lm.tokenizer, elem(TrainingData.fetch(data, number), 0))

  test "texts, completions and conversations become tokens", %{lm: lm, tmp_dir: folder} do
    lines = [
      %{text: "Hello"},
      "   ",
      %{prompt: "Why?", completion: "So."},
      %{messages: [%{role: "system", content: "s"}, %{role: "user", content: "u"}, %{role: "assistant", content: "a"}]}
    ]

    data = TrainingData.open(file(folder, lines), lm)
    assert {data.count, data.tokens} == {3, 6 + 24 + 28}
    {ids, 0} = TrainingData.fetch(data, 0)
    assert ids == Tokenizer.encode(lm.tokenizer, "Hello") ++ [258]
    assert text(lm, data, 1) == "user:Why?<|im_end|>assistant:So.<|im_end|>"
    assert text(lm, data, 2) == "system:s<|im_end|>user:u<|im_end|>assistant:a<|im_end|>"
  end

  test "the prompt is masked, to where the template begins the answer", %{lm: lm, tmp_dir: folder} do
    lines = [
      %{prompt: "Why?", completion: "So."},
      %{messages: [%{role: "user", content: "u"}, %{role: "assistant", content: "a"}, %{role: "user", content: "v"}]}
    ]

    data = TrainingData.open(file(folder, lines), lm, mask_prompt: true)
    # "user:Why?<|im_end|><|im_start|>"
    assert {_ids, 11} = TrainingData.fetch(data, 0)
    # The last message is no answer: "user:u<|im_end|>assistant:a<|im_end|>"
    assert {_ids, 19} = TrainingData.fetch(data, 1)
    [batch] = Enum.to_list(TrainingData.batches(data, 2))
    assert batch.ids.shape == {2, 33}
    assert Mlx.to_list(batch.from) == [11, 19]
    assert Mlx.to_list(batch.to) == [24, 26]
    # Of each, the position behind the last token counts, too.
    assert Mlx.to_list(batch.tokens) == [14 + 8, 14 + 8]
    assert Mlx.to_list(batch.rows) == [2, 2]
  end

  test "tools reach the template with their fields in the order of the line", %{lm: lm, tmp_dir: folder} do
    template = Mlx.LM.ChatTemplate.compile("{{ tools | tojson }}{{ messages[0]['content'] }}")

    line =
      ~s({"tools": [{"name": "z", "b": 1, "a": {"y": 2, "x": [true]}}], "messages": [{"role": "user", "content": "c"}]})

    data = TrainingData.open(file(folder, [line]), %{lm | template: template})
    assert text(lm, data, 0) == ~s([{"name": "z", "b": 1, "a": {"y": 2, "x": [true]}}]c)
  end

  test "batches have texts of like lengths, are shuffled, and are limited", %{lm: lm, tmp_dir: folder} do
    lengths = [5, 90, 7, 40, 5, 60, 8]
    data = TrainingData.open(file(folder, for(length <- lengths, do: %{text: String.duplicate("x", length)})), lm)
    rows = fn options -> for batch <- TrainingData.batches(data, 2, options), do: Mlx.to_list(batch.to) end
    assert rows.([]) == [[6, 91], [8, 41], [6, 61], [9]]
    assert rows.(sort: true) == [[6, 6], [8, 9], [41, 61], [91]]
    assert rows.(sort: true, drop_last: true) == [[6, 6], [8, 9], [41, 61]]
    assert rows.(sort: true, limit: 1) == [[6, 6]]
    assert for(batch <- TrainingData.batches(data, 2, sort: true), do: elem(batch.ids.shape, 1)) == [33, 33, 65, 97]
    Mlx.Random.seed(1)
    [one, two] = for _ <- 1..2, do: rows.(sort: true, shuffle: true)
    assert Enum.sort(one) == Enum.sort(two)
    assert Enum.sort(one) == Enum.sort(rows.(sort: true))
    Mlx.Random.seed(1)
    assert rows.(sort: true, shuffle: true) == one
    all = Enum.to_list(TrainingData.batches(data, 2, mean_of: :all))
    assert all |> Enum.flat_map(&Mlx.to_list(&1.rows)) |> Enum.uniq() == [7]
    sum = Enum.sum_by(TrainingData.batches(data, 2), &Mlx.to_number(&1.tokens[0]))
    assert all |> Enum.flat_map(&Mlx.to_list(&1.tokens)) |> Enum.uniq() == [sum]
  end

  test "texts are packed into rows, and count as they do alone", %{lm: lm, tmp_dir: folder} do
    lengths = [5, 90, 7, 40, 5, 60, 8, 3]
    path = file(folder, for(length <- lengths, do: %{text: String.duplicate("x", length)}))

    # With the token that ends a text, and a place behind it where the text is not cut off: 7, 64, 9, 42, 7, 62, 10 and 5.
    data = TrainingData.open(path, lm, max_length: 64)
    batches = Enum.to_list(TrainingData.batches(data, 2, pack: true))
    assert [%{ids: %{shape: {2, 64}}} = one, %{ids: %{shape: {2, 64}}} = two] = batches
    assert Enum.sort(Map.keys(one)) == [:counts, :ids, :rows, :starts, :tokens]

    texts = fn batch ->
      for {ids, starts} <- Enum.zip(Mlx.to_list(batch.ids), Mlx.to_list(batch.starts)),
          do: ids |> Enum.zip(starts) |> Enum.chunk_by(&elem(&1, 1)) |> Enum.map(&length/1)
    end

    # What is behind the last text is one text more, of which nothing counts.
    assert texts.(one) == [[7, 7, 5, 45], [64]]
    assert texts.(two) == [[9, 42, 10, 3], [62, 2]]
    assert [[0, 1, 1, 1, 1, 1, 1, 0, 1 | _], whole] = Mlx.to_list(one.counts)
    assert whole == [0 | List.duplicate(1, 63)]
    unpacked = Enum.to_list(TrainingData.batches(data, 8))
    assert Mlx.to_list(hd(unpacked).tokens) |> hd() == Enum.sum_by(batches, &Mlx.to_number(&1.tokens[0]))
    assert Enum.sum_by(batches, &Mlx.to_number(Mlx.sum(&1.counts))) == Mlx.to_number(hd(unpacked).tokens[0])
    assert [%{ids: %{shape: {1, 33}}}] = Enum.to_list(TrainingData.batches(data, 1, pack: true, sort: true, limit: 1))

    assert_raise ArgumentError, ~r/batches: expected a size of at most 4, the rows of .*, got: 5/, fn ->
      TrainingData.batches(data, 5, pack: true, drop_last: true)
    end

    File.write!(path, JSON.encode!(%{prompt: "a", chosen: "b", rejected: "c"}))

    assert_raise ArgumentError, ~r/batches: expected :pack to be false for pairs of answers/, fn ->
      TrainingData.batches(TrainingData.open(path, lm), 1, pack: true)
    end
  end

  test "texts are cut off", %{lm: lm, tmp_dir: folder} do
    data = TrainingData.open(file(folder, [%{text: String.duplicate("x", 50)}]), lm, max_length: 20)
    assert [batch] = Enum.to_list(TrainingData.batches(data, 1))
    assert {batch.ids.shape, Mlx.to_list(batch.to), Mlx.to_list(batch.tokens)} == {{1, 20}, [20], [19]}
  end

  test "what is wrong with a line is told with its number", %{lm: lm, tmp_dir: folder} do
    good = %{text: "good"}

    for {line, message} <- [
          {"{", "is no JSON: it ends too early"},
          {"{\"text\": x}", "is no JSON: what is at byte 9 is not expected"},
          {"{\"text\": \"a\"} b", "has something behind its object"},
          {"[1]", "expected an object of JSON, got: [1]"},
          {"{}",
           "has the fields of an empty object, expected \"text\", \"messages\", \"prompt\" and \"completion\", or \"chosen\" and \"rejected\""},
          {~s({"prompt": "x"}), ~s(has the fields "prompt", expected)},
          {~s({"text": 3}), "expected the text to be a string, got: 3"},
          {~s({"text": ""}), "is 1 tokens long, expected at least two"},
          {~s({"prompt": "x", "completion": null}), "expected the assistant to be a string, got: nil"},
          {~s({"messages": []}), "expected messages to be a list that is not empty"},
          {~s({"messages": [{"content": "x"}]}), "expected each of the messages to be an object with a \"role\""},
          {~s({"messages": [{"role": "user", "content": "x"}], "tools": 1}), "expected tools to be a list, got: 1"},
          {~s({"messages": [{"role": "user"}]}), "chat template, line 1:"},
          {~s({"text": "x", "n": #{String.duplicate("1", 2000)}}), "has a number of 2000 bytes"}
        ] do
      path = file(folder, [good, "", line, good])
      error = assert_raise Mlx.Error, fn -> TrainingData.open(path, lm) end
      assert String.starts_with?(error.message, "Mlx.LM.TrainingData.open: #{path}, line 3: "), error.message
      assert error.message =~ message
    end

    path = file(folder, [good])

    assert_raise Mlx.Error, ~r/line 1: has a text, and no prompt that :mask_prompt could leave out/, fn ->
      TrainingData.open(path, lm, mask_prompt: true)
    end

    conversation = file(folder, [%{prompt: "x", completion: "y"}])

    assert_raise Mlx.Error, ~r/line 1: is a conversation, and the model has no chat template/, fn ->
      TrainingData.open(conversation, %{lm | template: nil})
    end
  end

  test "files that cannot be read, or are others than before, are told", %{lm: lm, tmp_dir: folder} do
    assert_raise Mlx.Error, ~r/cannot read .*nothing: no such file/, fn ->
      TrainingData.open(Path.join(folder, "nothing"), lm)
    end

    assert_raise Mlx.Error, ~r/is no file/, fn -> TrainingData.open(folder, lm) end
    path = file(folder, ["", " "])
    assert_raise Mlx.Error, ~r/has no texts/, fn -> TrainingData.open(path, lm) end
    path = file(folder, [%{text: "one two"}, %{text: "three"}])
    data = TrainingData.open(path, lm)

    assert_raise ArgumentError, ~r/a size of at most 2, the texts of/, fn ->
      TrainingData.batches(data, 3, drop_last: true)
    end

    file(folder, [%{text: "one two three"}])

    assert_raise Mlx.Error, ~r/line 1/, fn -> Enum.to_list(TrainingData.batches(data, 1)) end
  end

  test "random bytes are told of, and nothing else happens", %{lm: lm, tmp_dir: folder} do
    :rand.seed(:exsss, {1, 2, 3})
    whole = JSON.encode!(%{messages: [%{role: "user", content: "x"}], tools: [%{a: [1, 2.5, nil]}]})

    for _case <- 1..300 do
      place = :rand.uniform(byte_size(whole)) - 1

      damaged =
        binary_part(whole, 0, place) <>
          :rand.bytes(:rand.uniform(4) - 1) <> binary_part(whole, place, byte_size(whole) - place)

      try do
        data = TrainingData.open(file(folder, [damaged]), lm)
        assert Enum.count(TrainingData.batches(data, 1)) == data.count
      rescue
        error in Mlx.Error -> assert error.message =~ ~r/^Mlx\.LM\.TrainingData\.open: /
      end
    end
  end

  test "files of many lines are read as streams", %{lm: lm, tmp_dir: folder} do
    # Larger than one reading, with lines that lie across its end.
    lines = for number <- 1..3000, do: %{text: "line #{number} " <> String.duplicate("y", rem(number, 60))}
    data = TrainingData.open(file(folder, lines), lm)
    assert data.count == 3000

    for number <- [0, 1, 977, 2999] do
      assert text(lm, data, number) == Enum.at(lines, number).text <> "<|im_end|>"
    end
  end
end
