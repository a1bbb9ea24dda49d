defmodule Mlx.LM.Conversion.TokenizerFiles do
  @moduledoc false
  # The files of a tokenizer as Hugging Face has them, of the metadata of a GGUF file: those of byte-level tokenizers, and of
  # SentencePiece's byte-pair encoding.

  alias Mlx.LM.Tokenizer
  alias Mlx.LM.Tokenizer.{GGUF, PostProcessor, ScoredMerges, WordScanner}

  @kinds ~w(gpt2 llama gemma4)

  @unknown 2
  @control 3
  @user_defined 4

  @enforce_keys [:files, :end_ids, :bos]
  defstruct @enforce_keys

  @type t :: %__MODULE__{files: %{String.t() => map()}, end_ids: [non_neg_integer()], bos: non_neg_integer() | nil}

  @doc "The files by their names, the tokens that end a text, and the one that begins it."
  @spec of(map()) :: t()
  def of(metadata) do
    # It checks the metadata.
    tokenizer = Tokenizer.from_gguf(metadata)

    kind = metadata["tokenizer.ggml.model"]

    if kind not in @kinds do
      raise Mlx.Error,
            "the file has a tokenizer of the kind #{inspect(kind)}; a tokenizer.json can be made of the kinds " <>
              Enum.map_join(@kinds, ", ", &inspect/1)
    end

    end_ids = Enum.sort(tokenizer.end_ids)
    generation = %{"eos_token_id" => end_ids, "bos_token_id" => tokenizer.bos}

    %__MODULE__{
      files: %{
        "tokenizer.json" => tokenizer_json(kind, metadata, tokenizer),
        "tokenizer_config.json" => config(metadata, tokenizer),
        "generation_config.json" => Map.reject(generation, fn {_key, value} -> value in [nil, []] end)
      },
      end_ids: if(end_ids != [], do: end_ids),
      bos: tokenizer.bos
    }
  end

  defp tokenizer_json(kind, metadata, tokenizer) do
    tokens = metadata["tokenizer.ggml.tokens"]
    vocabulary = tokens |> Enum.with_index() |> Map.new()
    parts = parts(kind, metadata, vocabulary)

    model = %{
      "type" => "BPE",
      "dropout" => nil,
      "unk_token" => nil,
      "continuing_subword_prefix" => nil,
      "end_of_word_suffix" => nil,
      "fuse_unk" => false,
      "byte_fallback" => false,
      "ignore_merges" => false,
      "vocab" => vocabulary
    }

    %{
      "version" => "1.0",
      "truncation" => nil,
      "padding" => nil,
      "added_tokens" => added(tokens, metadata["tokenizer.ggml.token_type"] || [], parts.added),
      "normalizer" => parts.normalizer,
      "pre_tokenizer" => parts.pre_tokenizer,
      "post_processor" => post_processor(tokenizer, parts.steps),
      "decoder" => parts.decoder,
      "model" => Map.merge(model, parts.model)
    }
  end

  defp parts("gpt2", metadata, _vocabulary) do
    pre = GGUF.pre(metadata)

    %{
      added: [@control, @user_defined],
      normalizer: if(pre.compose, do: %{"type" => "NFC"}),
      pre_tokenizer: sequence("pretokenizers", words(pre.words)),
      steps: [byte_level(true)],
      decoder: byte_level(true),
      model: %{"ignore_merges" => pre.whole_words, "merges" => metadata["tokenizer.ggml.merges"]}
    }
  end

  # One space is put in front of a text, and taken away again.
  defp parts(kind, metadata, vocabulary) do
    prefix? = kind == "llama" and Map.get(metadata, "tokenizer.ggml.add_space_prefix", true)
    unknown = metadata["tokenizer.ggml.unknown_token_id"]
    front = if prefix?, do: [%{"type" => "Prepend", "prepend" => "▁"}], else: []
    strip = if prefix?, do: [%{"type" => "Strip", "content" => " ", "start" => 1, "stop" => 0}], else: []

    %{
      added: [@unknown, @control, @user_defined],
      normalizer: sequence("normalizers", front ++ [replace(" ", "▁")]),
      pre_tokenizer: nil,
      steps: [],
      decoder: sequence("decoders", [replace("▁", " "), %{"type" => "ByteFallback"}, %{"type" => "Fuse"} | strip]),
      model: %{
        "unk_token" => unknown && Enum.at(metadata["tokenizer.ggml.tokens"], unknown),
        "fuse_unk" => true,
        "byte_fallback" => true,
        "merges" => merges(kind, metadata, vocabulary)
      }
    }
  end

  defp merges("gemma4", metadata, _vocabulary), do: metadata["tokenizer.ggml.merges"]

  defp merges("llama", metadata, vocabulary) do
    types = metadata["tokenizer.ggml.token_type"] || List.duplicate(1, map_size(vocabulary))
    merges = ScoredMerges.of(vocabulary, metadata["tokenizer.ggml.scores"], types)
    for {left, right, _rank} <- merges, do: [left, right]
  end

  defp replace(from, to), do: %{"type" => "Replace", "pattern" => %{"String" => from}, "content" => to}

  defp added(tokens, types, kinds) do
    for {{token, type}, id} <- tokens |> Enum.zip(types) |> Enum.with_index(), type in kinds and token != "" do
      flags = for flag <- ~w(single_word lstrip rstrip normalized), into: %{}, do: {flag, false}
      Map.merge(flags, %{"id" => id, "content" => token, "special" => type != @user_defined})
    end
  end

  # The step that makes bytes characters knows the regular expression of GPT-2.
  defp words(%{family: :words, numbers: :any}), do: [byte_level(true)]

  defp words(%{family: :words, numbers: 1}),
    do: [%{"type" => "Digits", "individual_digits" => true}, byte_level(true)]

  defp words(%{} = kind), do: words([WordScanner.regex(kind)])

  defp words(patterns) when is_list(patterns) do
    splits =
      for pattern <- patterns,
          do: %{"type" => "Split", "pattern" => %{"Regex" => pattern}, "behavior" => "Isolated", "invert" => false}

    splits ++ [byte_level(false)]
  end

  defp byte_level(regex) do
    %{"type" => "ByteLevel", "add_prefix_space" => false, "trim_offsets" => true, "use_regex" => regex}
  end

  defp sequence(_key, [only]), do: only
  defp sequence(key, several), do: %{"type" => "Sequence", key => several}

  defp post_processor(%Tokenizer{} = tokenizer, steps) do
    front = if tokenizer.add_bos and tokenizer.bos != nil, do: [tokenizer.bos], else: []
    back = if tokenizer.add_eos and tokenizer.eos != nil, do: [tokenizer.eos], else: []
    steps = steps ++ if(front == [] and back == [], do: [], else: [template(tokenizer, front, back)])
    if steps != [], do: sequence("processors", steps)
  end

  defp template(tokenizer, front, back) do
    named = for id <- Enum.uniq(front ++ back), do: {Tokenizer.token(tokenizer, id), id}
    template = PostProcessor.around(front, back)

    %{
      "type" => "TemplateProcessing",
      "single" => Enum.map(template.single, &piece(tokenizer, &1)),
      "pair" => Enum.map(template.pair, &piece(tokenizer, &1)),
      "special_tokens" =>
        for({token, id} <- named, into: %{}, do: {token, %{"id" => token, "ids" => [id], "tokens" => [token]}})
    }
  end

  defp piece(_tokenizer, {:a, type}), do: %{"Sequence" => %{"id" => "A", "type_id" => type}}
  defp piece(_tokenizer, {:b, type}), do: %{"Sequence" => %{"id" => "B", "type_id" => type}}

  defp piece(tokenizer, {id, type}),
    do: %{"SpecialToken" => %{"id" => Tokenizer.token(tokenizer, id), "type_id" => type}}

  defp config(metadata, tokenizer) do
    named = for {name, token} <- Tokenizer.named_tokens(tokenizer), into: %{}, do: {Atom.to_string(name), token}

    %{
      "tokenizer_class" => "PreTrainedTokenizerFast",
      "clean_up_tokenization_spaces" => false,
      "add_bos_token" => tokenizer.add_bos,
      "model_max_length" => metadata["#{metadata["general.architecture"]}.context_length"],
      "chat_template" => metadata["tokenizer.chat_template"]
    }
    |> Map.reject(fn {_key, value} -> value == nil end)
    |> Map.merge(named)
  end
end
