defmodule Mlx.LM.Tokenizer.EndTokensTest do
  # The tokens that end an answer, as llama.cpp takes them from the metadata and the vocabulary of a GGUF file.
  use ExUnit.Case, async: true

  alias Mlx.LM.Tokenizer
  alias Mlx.LM.Tokenizer.ByteAlphabet

  @letters Enum.map(0..255, &ByteAlphabet.character/1)

  # `named` are the names that the metadata has for tokens.
  defp gguf(special, named) do
    ids = for {token, id} <- Enum.with_index(special, 256), into: %{}, do: {token, id}

    %{
      "tokenizer.ggml.model" => "gpt2",
      "tokenizer.ggml.pre" => "gpt-4o",
      "tokenizer.ggml.tokens" => @letters ++ special ++ ["ab"],
      "tokenizer.ggml.token_type" => List.duplicate(1, 256) ++ List.duplicate(3, length(special)) ++ [1],
      "tokenizer.ggml.merges" => ["a b"]
    }
    |> Map.merge(for {name, token} <- named, into: %{}, do: {"tokenizer.ggml.#{name}_token_id", ids[token]})
  end

  defp endings(metadata) do
    tokenizer = Tokenizer.from_gguf(metadata)
    for id <- Enum.sort(tokenizer.end_ids), do: Tokenizer.token(tokenizer, id)
  end

  @gpt_oss ~w(<|startoftext|> <|endoftext|> <|return|> <|constrain|> <|channel|> <|start|> <|end|> <|message|> <|call|>)

  test "an answer of gpt-oss ends with its last message, or with a call" do
    expected = ~w(<|endoftext|> <|return|> <|call|>)

    for named <- [
          [eos: "<|return|>"],
          [eos: "<|return|>", eot: "<|end|>"],
          [eos: "<|endoftext|>", eot: "<|return|>", eom: "<|end|>"],
          [eos: "<|end|>"],
          []
        ] do
      assert {named, endings(gguf(@gpt_oss, named))} == {named, expected}
    end
  end

  test "without channels, <|end|> ends an answer" do
    assert endings(gguf(~w(<|user|> <|assistant|> <|end|> <|endoftext|>), eos: "<|endoftext|>")) ==
             ~w(<|end|> <|endoftext|>)
  end

  test "tokens that the metadata names end an answer, of a turn, of a message, and of code that fills a gap" do
    named = [
      eos: "<1>",
      eot: "<2>",
      eom: "<3>",
      fim_pad: "<4>",
      fim_rep: "<5>",
      fim_sep: "<6>",
      fim_pre: "<7>",
      bos: "<8>"
    ]

    assert endings(gguf(~w(<1> <2> <3> <4> <5> <6> <7> <8>), named)) == ~w(<1> <2> <3> <4> <5> <6>)
  end

  test "tokens with known names end an answer beside the end token" do
    assert endings(gguf(~w(<|im_start|> <|im_end|> <|endoftext|>), eos: "<|im_end|>")) == ~w(<|im_end|> <|endoftext|>)

    assert endings(gguf(~w(<|eot|> <|eom|> <|end_of_text|> <|header_start|>), [])) ==
             ~w(<|eot|> <|eom|> <|end_of_text|>)

    assert endings(gguf(["<turn|>", "<|turn>", "<|tool_response>"], [])) == ["<turn|>", "<|tool_response>"]
  end
end
