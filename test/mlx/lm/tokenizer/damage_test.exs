defmodule Mlx.LM.Tokenizer.DamageTest do
  # Files that are wrong: each is refused with its place, or taken for what it says, in bounded time and memory.
  use ExUnit.Case, async: true

  alias Mlx.LM.Tokenizer

  @values [nil, true, false, 0, -1, 1.5, 1.0e300, 10 ** 30, "", "x", "\0", [], [1], %{}, %{"a" => 1}, [[]], ["a", "b"]]
  @mutations 350

  defp json(changes) do
    %{"model" => %{"type" => "WordLevel", "vocab" => %{"a" => 0, "<unk>" => 1}, "unk_token" => "<unk>"}}
    |> Map.merge(changes)
    |> JSON.encode!()
  end

  defp refused(json), do: assert_raise(Mlx.Error, fn -> Tokenizer.from_json(json) end).message

  test "what is unknown is named, with what is known" do
    for {field, kind, known} <- [
          {"normalizer", "Foo", "BertNormalizer"},
          {"pre_tokenizer", "Foo", "Metaspace"},
          {"post_processor", "Foo", "TemplateProcessing"},
          {"decoder", "Foo", "ByteFallback"},
          {"model", "Foo", "Unigram"}
        ] do
      message = refused(json(%{field => %{"type" => kind}}))
      assert message =~ "Mlx.LM.Tokenizer.from_json: tokenizer.json, #{field}.type has to be one of"
      assert message =~ known
      assert message =~ ~s(is "Foo")
    end

    assert refused(
             json(%{"normalizer" => %{"type" => "Sequence", "normalizers" => [%{"type" => "NFC"}, %{"type" => "Foo"}]}})
           ) =~
             "normalizer.normalizers[1].type has to be"

    assert refused(
             json(%{"pre_tokenizer" => %{"type" => "Split", "behavior" => "Isolated", "pattern" => %{"Regex" => "(a"}}})
           ) =~
             "pre_tokenizer.pattern is a regular expression that cannot be read: a ( has no )"
  end

  test "sequences in sequences without end are refused" do
    for {field, list} <- [
          {"normalizer", "normalizers"},
          {"pre_tokenizer", "pretokenizers"},
          {"post_processor", "processors"},
          {"decoder", "decoders"}
        ] do
      open = String.duplicate(~s({"type":"Sequence","#{list}":[), 20_000)
      deep = ~s({"#{field}": #{open}#{String.duplicate("]}", 20_000)}, ) <> String.trim_leading(json(%{}), "{")
      assert refused(deep) =~ "is in more than 20 sequences"
    end
  end

  test "a text that grows without end is stopped" do
    double = %{"type" => "Replace", "pattern" => %{"String" => "a"}, "content" => "aa"}

    tokenizer =
      Tokenizer.from_json(json(%{"normalizer" => %{"type" => "Sequence", "normalizers" => List.duplicate(double, 60)}}))

    assert assert_raise(Mlx.Error, fn -> Tokenizer.encode(tokenizer, "a") end).message =~
             "Mlx.LM.Tokenizer.encode: the tokenizer makes"

    tokenizer =
      Tokenizer.from_json(json(%{"decoder" => %{"type" => "Sequence", "decoders" => List.duplicate(double, 60)}}))

    assert_raise Mlx.Error, fn -> Tokenizer.decode(tokenizer, [0]) end
  end

  test "a pattern that takes too long is stopped" do
    for regex <- ["(a+)+b", "(a|aa)*c", "(?:a*)*d", "(a?){200}a{200}b", "a*a*a*a*b"] do
      split = %{"type" => "Split", "behavior" => "Isolated", "pattern" => %{"Regex" => regex}}
      tokenizer = Tokenizer.from_json(json(%{"pre_tokenizer" => split}))
      error = assert_raise Mlx.Error, fn -> Tokenizer.encode(tokenizer, String.duplicate("a", 5_000)) end
      assert error.message =~ "takes too many steps"
    end
  end

  test "a folder without files" do
    folder = Path.join(System.tmp_dir!(), "mlx-no-tokenizer")
    error = assert_raise Mlx.Error, fn -> Tokenizer.from_folder(folder) end
    assert error.message =~ "Mlx.LM.Tokenizer.from_folder: #{folder} has no file tokenizer.json"
  end

  for name <- ~w(qwen3 llama3_1 llama2 gptoss gemma3 minilm) do
    @tag :tokenizers
    test "of #{name}, damaged" do
      name = unquote(name)
      :rand.seed(:exsss, {4, 2, byte_size(name)})

      definition =
        [System.fetch_env!("MLX_TEST_TOKENIZERS"), name, "tokenizer.json"]
        |> Path.join()
        |> File.read!()
        |> JSON.decode!()
        |> smaller()

      whole = JSON.encode!(definition)
      assert [_ | _] = whole |> Tokenizer.from_json() |> Tokenizer.encode("Hello")

      outcomes =
        for round <- 1..@mutations do
          damaged = damaged(rem(round, 4), whole, definition)

          try do
            damaged |> Tokenizer.from_json() |> Tokenizer.encode("Hello wörld 你好 <s> \n")
            :taken
          rescue
            error in Mlx.Error -> assert(error.message =~ "Mlx.LM.Tokenizer.") && :refused
          end
        end

      counts = Enum.frequencies(outcomes)
      assert counts.refused > div(@mutations, 2)
    end
  end

  # Fewer tokens, so that a round takes no time.
  defp smaller(%{"model" => model} = definition) do
    vocabulary = for {token, id} <- model["vocab"], id < 400, into: %{}, do: {token, id}
    model = Map.put(model, "vocab", vocabulary)
    model = if model["merges"], do: Map.update!(model, "merges", &known(&1, vocabulary)), else: model
    %{definition | "model" => model, "added_tokens" => Enum.take(definition["added_tokens"], 10)}
  end

  defp known(merges, vocabulary) do
    for merge <- Enum.take(merges, 2000),
        [left, right] = if(is_list(merge), do: merge, else: String.split(merge, " ")),
        Enum.all?([left, right, left <> right], &is_map_key(vocabulary, &1)),
        do: merge
  end

  defp damaged(0, whole, _definition), do: binary_part(whole, 0, :rand.uniform(byte_size(whole)) - 1)

  defp damaged(1, whole, _definition) do
    at = :rand.uniform(byte_size(whole)) - 1
    <<before::binary-size(at), _byte, rest::binary>> = whole
    before <> <<:rand.uniform(256) - 1>> <> rest
  end

  defp damaged(_kind, _whole, definition), do: definition |> mutated() |> JSON.encode!()

  defp mutated(term) when is_map(term) and map_size(term) > 0 do
    name = term |> Map.keys() |> Enum.take(50) |> Enum.random()

    case :rand.uniform(12) do
      1 -> Enum.random(@values)
      2 -> Map.delete(term, name)
      3 -> Map.put(term, name, Enum.random(@values))
      _deeper -> Map.update!(term, name, &mutated/1)
    end
  end

  defp mutated([_ | _] = list) do
    if :rand.uniform(6) == 1,
      do: Enum.random(@values),
      else: List.update_at(list, :rand.uniform(min(length(list), 20)) - 1, &mutated/1)
  end

  defp mutated(_leaf), do: Enum.random(@values)
end
