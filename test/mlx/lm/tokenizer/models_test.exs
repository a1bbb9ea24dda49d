defmodule Mlx.LM.Tokenizer.ModelsTest do
  # Tokenizers of models, as their files are.
  use ExUnit.Case, async: true

  alias Mlx.LM.Tokenizer
  alias Mlx.TokenizerTexts

  @moduletag :tokenizers

  @names ~w(qwen3 llama3_1 llama2 gptoss gemma3 minilm)
  @texts 5_000

  defp folder(name), do: Path.join(System.fetch_env!("MLX_TEST_TOKENIZERS"), name)

  # Offsets in bytes, in characters.
  defp characters(text, offsets) do
    numbers =
      for {character, index} <- text |> String.codepoints() |> Enum.with_index(),
          _byte <- 1..byte_size(character),
          do: index

    numbers = List.to_tuple(numbers ++ [length(String.codepoints(text))])
    for {from, to} <- offsets, do: {elem(numbers, from), elem(numbers, to)}
  end

  # Long texts without a place where a pre-tokenizer cuts most of them.
  defp long_words do
    :rand.seed(:exsss, {9, 9, 9})
    random = fn count, draw -> for _index <- 1..count, into: "", do: draw.() end

    [
      random.(20_000, fn -> <<Enum.random(?a..?z)>> end),
      random.(20_000, fn -> <<Enum.random(?0..?9)>> end),
      random.(7_000, fn -> <<Enum.random(0x4E00..0x9FA5)::utf8>> end),
      random.(7_000, fn -> Enum.random(~w(的 一 是 在 不 了 有 和 人 这 中 大 为 上 个 国)) end),
      Base.encode64(:rand.bytes(15_000)),
      random.(3_000, fn -> Enum.random(~w(the ing er tion a e == ---- 00)) end),
      random.(300, fn ->
        String.duplicate(Enum.random(["a", " ", "=", "-", "0", "\t", "▁", "中"]), :rand.uniform(300))
      end)
    ] ++ for text <- ["a", "ab", "aab", "0", "=", " ", "😀", "中", "e\u0301", "▁", "Ġ"], do: String.duplicate(text, 5_003)
  end

  for name <- @names do
    @tag :oracle
    test "#{name} gives the ids and offsets of the tokenizers package for long words" do
      tokenizer = Tokenizer.from_folder(folder(unquote(name)))
      texts = long_words()
      expected = TokenizerTexts.encode(Path.join(folder(unquote(name)), "tokenizer.json"), texts)
      assert length(expected) == length(texts)

      for {text, expected} <- Enum.zip(texts, expected) do
        encoding = Tokenizer.encoding(tokenizer, text, truncation: nil, padding: nil, offsets: true)
        assert Tokenizer.encode(tokenizer, text) == expected.ids
        assert encoding.ids == expected.ids
        assert encoding.offsets == expected.offsets
      end
    end

    @tag :oracle
    test "#{name} gives the ids, offsets and texts of the tokenizers package" do
      name = unquote(name)
      tokenizer = Tokenizer.from_folder(folder(name))
      texts = TokenizerTexts.random(@texts, {1, 2, byte_size(name)})
      expected = TokenizerTexts.encode(Path.join(folder(name), "tokenizer.json"), texts)
      assert length(expected) == @texts

      for {text, %{ids: ids, decoded: decoded, without_special: without_special} = expected} <-
            Enum.zip(texts, expected) do
        assert {text, Tokenizer.encode(tokenizer, text)} == {text, ids}
        encoding = Tokenizer.encoding(tokenizer, text, truncation: nil, padding: nil, offsets: true)
        assert {text, encoding.ids, encoding.offsets} == {text, ids, expected.offsets}
        assert {text, characters(text, encoding.byte_offsets)} == {text, encoding.offsets}
        assert {text, Tokenizer.decode(tokenizer, ids)} == {text, decoded}
        assert {text, Tokenizer.decode(tokenizer, ids, special: false)} == {text, without_special}
        pieces = tokenizer |> Tokenizer.decode_stream(ids) |> Enum.to_list()
        assert {text, Enum.join(pieces)} == {text, decoded}
        assert Enum.all?(pieces, &(String.valid?(&1) and &1 != ""))
      end
    end

    test "#{name} takes hardly any room on the heap of a process" do
      assert :erts_debug.flat_size(Tokenizer.from_folder(folder(unquote(name)))) < 10_000
    end
  end

  test "bytes that are not UTF-8 come back where there are tokens for bytes" do
    :rand.seed(:exsss, {5, 6, 7})

    for name <- ~w(llama3_1 llama2 gptoss gemma3) do
      tokenizer = Tokenizer.from_folder(folder(name))

      for _round <- 1..200 do
        bytes =
          for _index <- 1..:rand.uniform(20),
              into: "",
              do: Enum.random([:rand.bytes(2), "é", " ", "ab", "中", <<0xF4, 0x8F, 0xBF>>])

        ids = Tokenizer.encode(tokenizer, bytes, bos: false)
        written = Enum.map_join(ids, &Tokenizer.bytes(tokenizer, &1))
        assert {name, written} == {name, if(name == "llama2", do: " " <> bytes, else: bytes)}
      end
    end
  end

  test "the tokens of a stream come as soon as they are certain" do
    tokenizer = Tokenizer.from_folder(folder("llama2"))
    ids = Tokenizer.encode(tokenizer, "Hello world 你 é", bos: false)
    assert ["Hello", " world" | _rest] = tokenizer |> Tokenizer.decode_stream(ids) |> Enum.to_list()
  end

  test "named tokens, and those that end an answer" do
    for {name, bos, eos, endings} <- [
          {"qwen3", nil, "<|im_end|>", ["<|im_end|>", "<|endoftext|>"]},
          {"llama3_1", "<|begin_of_text|>", "<|eot_id|>", ["<|eot_id|>", "<|end_of_text|>"]},
          {"llama2", "<s>", "</s>", ["</s>"]},
          {"gptoss", "<|startoftext|>", "<|return|>", ["<|return|>", "<|endoftext|>"]},
          {"gemma3", "<bos>", "<end_of_turn>", ["<end_of_turn>"]}
        ] do
      tokenizer = Tokenizer.from_folder(folder(name))
      named = Tokenizer.named_tokens(tokenizer)
      assert {name, named[:bos_token], named[:eos_token]} == {name, bos, eos}
      assert tokenizer.bos == (bos && Tokenizer.id(tokenizer, bos))

      assert Enum.map(endings, &Tokenizer.end?(tokenizer, Tokenizer.id(tokenizer, &1))) ==
               Enum.map(endings, fn _ -> true end)

      refute name == "gptoss" and Tokenizer.end?(tokenizer, Tokenizer.id(tokenizer, "<|end|>"))
    end
  end

  test "work is linear in the text, whatever it is" do
    for name <- ~w(qwen3 llama2 gptoss minilm) do
      tokenizer = Tokenizer.from_folder(folder(name))

      work = fn text ->
        {:reductions, before} = Process.info(self(), :reductions)
        Tokenizer.encode(tokenizer, text)
        {:reductions, now} = Process.info(self(), :reductions)
        now - before
      end

      for text <- ["a", "ab", " ", "=", "你好", "e\u0301", "\n", "a "] do
        long = work.(String.duplicate(text, 40_000))
        assert {name, text, long < 20 * work.(String.duplicate(text, 4_000))} == {name, text, true}
      end
    end
  end

  # The same vocabulary as a GGUF file has it.
  @tag :oracle
  test "a GGUF of scores gives the ids of its tokenizer.json" do
    path = Path.join(folder("llama2"), "tokenizer.json")
    %{"model" => %{"vocab" => vocabulary, "merges" => merges}} = path |> File.read!() |> JSON.decode!()
    tokens = vocabulary |> Enum.sort_by(&elem(&1, 1)) |> Enum.map(&elem(&1, 0))
    ranks = merges |> Enum.map(&String.replace(&1, " ", "")) |> Enum.with_index() |> Enum.reverse() |> Map.new()

    tokenizer =
      Tokenizer.from_gguf(%{
        "tokenizer.ggml.model" => "llama",
        "tokenizer.ggml.tokens" => tokens,
        "tokenizer.ggml.scores" => for(token <- tokens, do: -Map.get(ranks, token, 1.0e6)),
        "tokenizer.ggml.token_type" =>
          for({_token, id} <- Enum.with_index(tokens), do: Enum.at([2, 3, 3], id) || if(id < 259, do: 6, else: 1)),
        "tokenizer.ggml.bos_token_id" => 1,
        "tokenizer.ggml.eos_token_id" => 2,
        "tokenizer.ggml.unknown_token_id" => 0
      })

    texts = TokenizerTexts.random(1_000, {3, 3, 3})

    for {text, %{ids: ids, decoded: decoded}} <- Enum.zip(texts, TokenizerTexts.encode(path, texts)) do
      assert {text, Tokenizer.encode(tokenizer, text)} == {text, ids}
      assert {text, Tokenizer.decode(tokenizer, ids)} == {text, decoded}
    end
  end
end
