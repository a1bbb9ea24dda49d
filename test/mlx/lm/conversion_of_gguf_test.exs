defmodule Mlx.LM.ConversionOfGGUFTest do
  use ExUnit.Case, async: true

  alias Mlx.IO.GGUFMetadata
  alias Mlx.LM.Conversion.TokenizerFiles
  alias Mlx.LM.{Decoder, Tokenizer}
  alias Mlx.{TinyLlama, TokenizerTexts}

  @moduletag :tmp_dir

  @texts [
    "",
    "Hello, world! It's 12345 o'clock",
    " ab  ab\n\n\tab ",
    "Ünïcode 漢字 🌍🏽 e\u0301",
    "<|im_start|>ab<|im_end|>"
  ]

  defp metadata(folder, changes) do
    path = Path.join(folder, "model.gguf")
    TinyLlama.save(path, changes)
    GGUFMetadata.read(path).metadata
  end

  defp tokenizer(files) do
    Tokenizer.from_json(JSON.encode!(files.files["tokenizer.json"]), config: files.files["tokenizer_config.json"])
  end

  describe "the tokenizer of the files is that of the metadata, for texts cut as" do
    for pre <- ~w(gpt-2 smollm llama-bpe qwen2 qwen35 gpt-4o tekken deepseek-v3 glm4) do
      test pre, %{tmp_dir: folder} do
        metadata = metadata(folder, %{"tokenizer.ggml.pre" => unquote(pre), "tokenizer.ggml.bos_token_id" => 257})
        files = TokenizerFiles.of(metadata)
        [from, to] = [Tokenizer.from_gguf(metadata), tokenizer(files)]
        texts = @texts ++ TokenizerTexts.random(200, {1, 2, 3})
        for text <- texts, do: assert(Tokenizer.encode(to, text) == Tokenizer.encode(from, text))
        assert {to.bos, to.eos, to.add_bos} == {from.bos, from.eos, from.add_bos}
        assert files.end_ids == [258]
      end
    end
  end

  @tag :oracle
  test "Python reads it alike", %{tmp_dir: folder} do
    texts = @texts ++ TokenizerTexts.random(300, {4, 5, 6})

    for {pre, bos} <- [{"smollm", false}, {"qwen2", true}, {"llama-bpe", true}] do
      changes = %{
        "tokenizer.ggml.pre" => pre,
        "tokenizer.ggml.bos_token_id" => 257,
        "tokenizer.ggml.add_bos_token" => bos
      }

      metadata = metadata(folder, changes)
      file = Path.join(folder, "tokenizer.json")
      File.write!(file, JSON.encode!(TokenizerFiles.of(metadata).files["tokenizer.json"]))
      from = Tokenizer.from_gguf(metadata)

      for {{ids, _decoded, _text}, text} <- Enum.zip(TokenizerTexts.encode(file, texts), texts),
          do: assert(Tokenizer.encode(from, text) == ids)
    end
  end

  # A vocabulary of characters, bytes and some words, with a score for each.
  defp sentence_piece(kind, changes) do
    words = ["▁", "a", "b", "ab", "▁a", "▁ab", "▁▁", "el", "lo", "hel", "▁hel", "▁hello", "o", "l", "h", "e", "é", "漢"]
    bytes = for byte <- 0..255, do: "<0x#{byte |> Integer.to_string(16) |> String.pad_leading(2, "0")}>"
    tokens = ["<unk>", "<s>", "</s>"] ++ bytes ++ words ++ ["<|user|>", "<tool>"]

    Map.merge(
      %{
        "general.architecture" => "llama",
        "llama.context_length" => 64,
        "tokenizer.ggml.model" => kind,
        "tokenizer.ggml.tokens" => tokens,
        "tokenizer.ggml.scores" => for(index <- 1..length(tokens), do: -1.0 * index),
        "tokenizer.ggml.token_type" =>
          [2, 3, 3] ++ List.duplicate(6, 256) ++ List.duplicate(1, length(words)) ++ [3, 4],
        "tokenizer.ggml.merges" => ["a b", "▁ a", "h el", "e l", "▁ hel", "▁hel lo", "l o", "▁ ▁", "▁a b"],
        "tokenizer.ggml.bos_token_id" => 1,
        "tokenizer.ggml.eos_token_id" => 2,
        "tokenizer.ggml.unknown_token_id" => 0
      },
      changes
    )
  end

  @tag :oracle
  test "the tokenizer of the files is that of SentencePiece's metadata, here and in Python", %{tmp_dir: folder} do
    file = Path.join(folder, "tokenizer.json")
    more = ["ab<|user|> hello", " hello<tool>ab <s> a</s>", "  a  ab", "▁hello", "<unk>ab", "heloab"]
    texts = @texts ++ more ++ TokenizerTexts.random(300, {7, 8, 9})

    for {kind, changes} <- [
          {"llama", %{}},
          {"llama", %{"tokenizer.ggml.add_space_prefix" => false}},
          {"llama", %{"tokenizer.ggml.add_bos_token" => false, "tokenizer.ggml.add_eos_token" => true}},
          {"gemma4", %{}}
        ] do
      metadata = sentence_piece(kind, changes)
      files = TokenizerFiles.of(metadata)
      [from, to] = [Tokenizer.from_gguf(metadata), tokenizer(files)]
      assert {files.end_ids, files.bos, to.eos} == {[2], 1, 2}
      File.write!(file, JSON.encode!(files.files["tokenizer.json"]))

      for {{ids, decoded, without}, text} <- Enum.zip(TokenizerTexts.encode(file, texts), texts) do
        assert {text, Tokenizer.encode(from, text)} == {text, ids}
        assert {text, Tokenizer.encode(to, text)} == {text, ids}
        for one <- [from, to], do: assert(Tokenizer.decode(one, ids) == decoded)
        for one <- [from, to], do: assert(Tokenizer.decode(one, ids, special: false) == without)
      end
    end

    assert_raise Mlx.Error, ~r/tokenizer of the kind "t5".*"gpt2", "llama", "gemma4"/, fn ->
      TokenizerFiles.of(sentence_piece("t5", %{"tokenizer.ggml.precompiled_charsmap" => nil}))
    end
  end

  test "files with many kinds of positions become the same model", %{tmp_dir: folder} do
    ids = Mlx.array([Enum.to_list(1..60)])

    logits = fn model ->
      {logits, _caches} = Decoder.logits(model, ids, Decoder.caches(model))
      Mlx.eval(logits)
    end

    factors = %{"rope_freqs.weight" => Mlx.array([1.0, 1.0, 1.5, 2.0, 4.0, 8.0, 8.0, 8.0])}

    for {changes, tensors} <- [
          {%{}, %{}},
          {%{"llama.rope.scaling.type" => "linear", "llama.rope.scaling.factor" => 4.0}, %{}},
          {%{}, factors},
          {%{}, %{"output.weight" => Mlx.Random.normal({259, 64}, scale: 0.3, key: Mlx.Random.key(99))}}
        ] do
      path = Path.join(folder, "model.gguf")
      target = Path.join(folder, "folder")
      Mlx.IO.save(path, Map.merge(TinyLlama.tensors(), tensors), format: :gguf, metadata: TinyLlama.metadata(changes))
      Mlx.LM.convert(path, target, type: :f32)
      [from, to] = for model <- [path, target], do: logits.(Mlx.LM.load(model).model)
      assert Mlx.to_number(Mlx.all_close(from, to, atol: 1.0e-4, rtol: 1.0e-4))
      File.rm_rf!(target)
    end
  end

  test "the factors of Llama 3 get their name", %{tmp_dir: folder} do
    # Those of a factor of 32 and heads of 16 features: wavelengths over 8,192, between that and 2,048, and below.
    factors =
      for pair <- 0..7 do
        wavelength = 2 * :math.pi() * :math.pow(500_000.0, 2 * pair / 16)
        smooth = (8192 / wavelength - 1) / 3

        cond do
          wavelength < 2048 -> 1.0
          wavelength > 8192 -> 32.0
          true -> 1 / ((1 - smooth) / 32 + smooth)
        end
      end

    path = Path.join(folder, "model.gguf")
    tensors = Map.put(TinyLlama.tensors(), "rope_freqs.weight", Mlx.array(factors))
    Mlx.IO.save(path, tensors, format: :gguf, metadata: TinyLlama.metadata(%{"llama.rope.freq_base" => 500_000.0}))
    Mlx.LM.convert(path, Path.join(folder, "folder"))
    config = JSON.decode!(File.read!(Path.join(folder, "folder/config.json")))
    assert %{"rope_type" => "llama3", "factor" => 32.0} = config["rope_scaling"]
  end

  test "what a folder has no place for is refused", %{tmp_dir: folder} do
    path = Path.join(folder, "model.gguf")
    target = Path.join(folder, "folder")

    for {changes, tensors, expected} <- [
          {%{"general.architecture" => "gptj"}, %{}, ~r/general.architecture is "gptj", expected one of gemma/},
          {%{"llama.rope.dimension_count" => 8}, %{}, ~r/dimension_count is 8, expected 16/},
          {%{},
           %{
             "blk.0.attn_q.bias" => Mlx.zeros({64}),
             "blk.0.attn_k.bias" => Mlx.zeros({32}),
             "blk.0.attn_v.bias" => Mlx.zeros({32})
           }, ~r/other tensors than models of the type llama in folders: .*missing .*o_proj.bias/},
          {%{"tokenizer.ggml.pre" => "nonsense"}, %{}, ~r/not a known pre-tokenizer/}
        ] do
      Mlx.IO.save(path, Map.merge(TinyLlama.tensors(), tensors), format: :gguf, metadata: TinyLlama.metadata(changes))
      error = assert_raise Mlx.Error, expected, fn -> Mlx.LM.convert(path, target) end
      assert error.message =~ ~r/^Mlx\.LM\.convert: /
      assert File.ls!(folder) == ["model.gguf"]
    end
  end
end
