defmodule Mlx.LM.Tokenizer.GGUF do
  @moduledoc false
  # Makes a tokenizer of the metadata of a GGUF file, of the same parts that a `tokenizer.json` is made of.

  alias Mlx.LM.Tokenizer
  alias Mlx.LM.Tokenizer.{AddedTokens, BytePairEncoding, Decoder, Definition, Normalizer, PreTokenizer}
  alias Mlx.LM.Tokenizer.{ScoredMerges, SpecialTokens, Unigram, WordScanner}

  @models ~w(gpt2 llama gemma4 t5)

  # Tokens that end an answer beside the end token: of a turn, of a message, and of code that fills a gap.
  @endings ~w(eot eom fim_pad fim_rep fim_sep)

  # Token types.
  @unknown 2
  @control 3
  @user_defined 4

  @deepseek3 [
    "\\p{N}{1,3}",
    "[一-龥぀-ゟ゠-ヿ]+",
    "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\\r\\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+| ?[\\p{P}\\p{S}]+[\\r\\n]*|" <>
      "\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
  ]

  # How each `tokenizer.ggml.pre` cuts, and what else goes with it.
  @plain %{words: WordScanner.gpt2(), compose: false, whole_words: false, bos: false}
  @digits %{@plain | words: %{WordScanner.gpt2() | numbers: 1}}
  @llama3 %{@plain | words: WordScanner.llama3(3), whole_words: true, bos: true}
  @qwen2 %{@plain | words: WordScanner.llama3(1), compose: true}

  @pre %{
    "gpt-2" => @plain,
    "phi-2" => @plain,
    "smollm" => @digits,
    "starcoder" => @digits,
    "refact" => @digits,
    "llama-bpe" => @llama3,
    "llama-v3" => @llama3,
    "llama3" => @llama3,
    "lfm2" => @llama3,
    "falcon3" => @llama3,
    "qwen2" => @qwen2,
    "deepseek-r1-qwen" => @qwen2,
    "qwen35" => %{@plain | words: WordScanner.qwen35(), compose: true},
    "gpt-4o" => %{@plain | words: WordScanner.o200k(), whole_words: true},
    "llama4" => %{@plain | words: WordScanner.o200k(), whole_words: true, bos: true},
    "tekken" => %{@plain | words: WordScanner.tekken(), whole_words: true, bos: true},
    "deepseek-v3" => %{@plain | words: @deepseek3},
    "glm4" => %{@plain | words: WordScanner.llama3(3)},
    "chatglm-bpe" => %{@plain | words: WordScanner.llama3(3)},
    "smaug-bpe" => %{@plain | words: WordScanner.llama3(3)},
    "dbrx" => %{@plain | words: WordScanner.llama3(3)}
  }

  @doc "The tokenizer of a file's metadata."
  @spec tokenizer(map) :: Tokenizer.t()
  def tokenizer(metadata) do
    model = model(metadata)
    tokens = strings(metadata, "tokens")
    types = types(metadata, length(tokens))
    vocabulary = tokens |> Enum.with_index() |> Map.new()
    parts = parts(model, metadata, vocabulary, types)

    added =
      for {{token, type}, id} <- tokens |> Enum.zip(types) |> Enum.with_index(), token != "", added?(type, model) do
        AddedTokens.plain(token, id, type != @user_defined)
      end

    named = named(metadata, List.to_tuple(tokens))
    tokenizer = Definition.new(parts, vocabulary, added, fn _ids -> named end, nil)
    endings = for name <- @endings, id = special_id(metadata, name, List.to_tuple(tokens)), do: id
    end_ids = MapSet.union(tokenizer.end_ids, MapSet.new(endings))
    %{tokenizer | end_ids: SpecialTokens.without_parts(end_ids, vocabulary)}
  end

  defp added?(@unknown, model), do: model != "gpt2"
  defp added?(type, _model), do: type in [@control, @user_defined]

  defp model(metadata) do
    case metadata do
      %{"tokenizer.ggml.model" => model} when model in @models ->
        model

      %{"tokenizer.ggml.model" => model} ->
        fail("tokenizer.ggml.model is #{inspect(model)}; supported are #{Enum.join(@models, ", ")}")

      _none ->
        fail("the metadata has no tokenizer.ggml.model")
    end
  end

  defp parts("gpt2", metadata, vocabulary, _types) do
    pre = pre(metadata)

    %{
      normalizer: if(pre.compose, do: Normalizer.composed(), else: Normalizer.read(nil, "")),
      pre_tokenizer: words(pre.words),
      model: BytePairEncoding.new(vocabulary, merges(metadata), bytes: true, whole_words: pre.whole_words),
      decoder: Decoder.byte_level()
    }
    |> edges(metadata, pre.bos, false)
  end

  # One space is put in front of a text, and taken away again.
  defp parts("llama", metadata, vocabulary, types) do
    prefix = Map.get(metadata, "tokenizer.ggml.add_space_prefix", true)
    merges = ScoredMerges.of(vocabulary, scores(metadata, map_size(vocabulary)), types)

    vocabulary
    |> BytePairEncoding.new(merges, fallback: true, unknown: unknown(vocabulary, metadata), fuse: true)
    |> sentence_piece(if(prefix, do: "▁", else: ""))
    |> edges(metadata, true, false)
  end

  defp parts("gemma4", metadata, vocabulary, _types) do
    vocabulary
    |> BytePairEncoding.new(merges(metadata), fallback: true, unknown: unknown(vocabulary, metadata), fuse: true)
    |> sentence_piece("")
    |> edges(metadata, true, false)
  end

  defp parts("t5", metadata, vocabulary, _types) do
    scores = scores(metadata, map_size(vocabulary))

    %{
      normalizer: mapped(metadata["tokenizer.ggml.precompiled_charsmap"]),
      pre_tokenizer: PreTokenizer.metaspace(),
      model: Unigram.new(vocabulary, scores, metadata["tokenizer.ggml.unknown_token_id"] || vocabulary["<unk>"], false),
      decoder: Decoder.spaces(true)
    }
    |> edges(metadata, false, true)
  end

  defp sentence_piece(model, prefix) do
    %{
      normalizer: Normalizer.spaces(prefix, " ", "▁"),
      pre_tokenizer: PreTokenizer.read(nil, ""),
      model: model,
      decoder: Decoder.spaces(prefix != "")
    }
  end

  defp edges(parts, metadata, bos, eos) do
    Map.merge(parts, %{
      front: [],
      back: [],
      add_bos: Map.get(metadata, "tokenizer.ggml.add_bos_token", bos),
      add_eos: Map.get(metadata, "tokenizer.ggml.add_eos_token", eos)
    })
  end

  defp mapped(nil), do: Normalizer.read(nil, "")

  defp mapped(bytes) do
    with bytes when is_binary(bytes) <- if(is_list(bytes), do: signed(bytes), else: bytes),
         {:ok, normalizer} <- Normalizer.mapped(bytes) do
      normalizer
    else
      _error -> fail("tokenizer.ggml.precompiled_charsmap is not the map of characters of SentencePiece")
    end
  end

  defp signed(numbers) do
    if Enum.all?(numbers, &(is_integer(&1) and &1 in -128..255)), do: for(number <- numbers, into: <<>>, do: <<number>>)
  end

  @doc """
  How the metadata of a byte-level tokenizer says to cut: a scanner or regular expressions, whether text is composed first, whether words of the
  vocabulary are taken whole, and whether texts begin with a token.
  """
  @spec pre(map) :: %{words: WordScanner.t() | [String.t()], compose: boolean, whole_words: boolean, bos: boolean}
  def pre(metadata) do
    name = Map.get(metadata, "tokenizer.ggml.pre", "gpt-2")

    with :error <- if(is_binary(name), do: Map.fetch(@pre, name), else: :error) do
      known = @pre |> Map.keys() |> Enum.sort() |> Enum.join(", ")
      fail("tokenizer.ggml.pre is #{inspect(name)}, which is not a known pre-tokenizer; known are #{known}")
    else
      {:ok, pre} -> pre
    end
  end

  # The model makes characters of bytes itself, so that this last step is left out.
  defp words(words) do
    {steps, true} = words |> steps() |> PreTokenizer.without_bytes()
    steps
  end

  defp steps(%{} = kind), do: PreTokenizer.bytes_by(kind)
  defp steps(regexes), do: PreTokenizer.bytes_by_all(regexes)

  defp merges(metadata) do
    metadata
    |> strings("merges")
    |> Enum.with_index()
    |> Enum.map(fn {merge, rank} ->
      with true <- is_binary(merge), [left, right] when left != "" and right != "" <- :binary.split(merge, " ") do
        {left, right}
      else
        _other -> fail("merge #{rank} (#{inspect(merge)}) is not two tokens with a space between")
      end
    end)
  end

  defp strings(metadata, name) do
    case metadata["tokenizer.ggml." <> name] do
      [first | _] = strings when is_binary(first) -> strings
      _other -> fail("the metadata has no list of strings tokenizer.ggml.#{name}")
    end
  end

  defp scores(metadata, count) do
    case metadata["tokenizer.ggml.scores"] do
      [first | _] = scores when is_number(first) and length(scores) >= count -> scores
      _other -> fail("the metadata has no list tokenizer.ggml.scores of #{count} numbers")
    end
  end

  defp types(metadata, count) do
    case metadata["tokenizer.ggml.token_type"] do
      nil -> List.duplicate(1, count)
      types when length(types) == count -> types
      _other -> fail("tokenizer.ggml.token_type has not as many elements as tokenizer.ggml.tokens (#{count})")
    end
  end

  defp unknown(vocabulary, metadata) do
    id = metadata["tokenizer.ggml.unknown_token_id"]
    Enum.find_value(vocabulary, fn {token, token_id} -> token_id == id && token end)
  end

  @names [bos_token: "bos", eos_token: "eos", unk_token: "unknown", pad_token: "padding"]

  defp named(metadata, tokens) do
    ids = for {name, part} <- @names, id = special_id(metadata, part, tokens), into: %{}, do: {name, id}
    %{ids: ids, tokens: for({name, _part} <- @names, id = ids[name], do: {name, elem(tokens, id)})}
  end

  defp special_id(metadata, name, tokens) do
    case metadata["tokenizer.ggml.#{name}_token_id"] do
      nil -> nil
      id when is_integer(id) and id >= 0 and id < tuple_size(tokens) -> id
      id -> fail("tokenizer.ggml.#{name}_token_id is #{inspect(id)}, which is not in the vocabulary")
    end
  end

  @spec fail(String.t()) :: no_return
  defp fail(problem), do: raise(Mlx.Error, message: problem)
end
