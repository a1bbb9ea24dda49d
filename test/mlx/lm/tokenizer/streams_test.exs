defmodule Mlx.LM.Tokenizer.StreamsTest do
  # Streams of any tokens: bytes that are no characters, and special tokens between them.
  use ExUnit.Case, async: true

  alias Mlx.LM.Tokenizer
  alias Mlx.TokenizerTexts

  @moduletag :tokenizers

  # Tokens with bytes that are a part of a character, special tokens, and any tokens.
  defp kinds(tokenizer) do
    ids = for id <- 0..(Tokenizer.size(tokenizer) - 1), Tokenizer.token(tokenizer, id), do: id

    broken =
      for id <- Enum.take_random(ids, 8_000) ++ Enum.take(ids, 600),
          not String.valid?(Tokenizer.bytes(tokenizer, id)),
          do: id

    special =
      for id <- Enum.take(ids, 400) ++ Enum.take(ids, -400),
          Tokenizer.bytes(tokenizer, id, special: false) == "",
          do: id

    Enum.reject([broken, special, Enum.take(ids, 400), ids], &(&1 == [])) |> Enum.map(&List.to_tuple/1)
  end

  defp any(kinds) do
    kind = Enum.random(kinds)
    elem(kind, :rand.uniform(tuple_size(kind)) - 1)
  end

  for name <- ~w(qwen3 llama3_1 llama2 gptoss gemma3 minilm) do
    @tag :oracle
    test "of #{name} are what Python decodes, and never a part of a character" do
      folder = Path.join(System.fetch_env!("MLX_TEST_TOKENIZERS"), unquote(name))
      :rand.seed(:exsss, {8, 3, byte_size(folder)})
      tokenizer = Tokenizer.from_folder(folder)
      kinds = kinds(tokenizer)
      lists = for _list <- 1..400, do: for(_id <- 1..:rand.uniform(24), do: any(kinds))
      expected = TokenizerTexts.decode(Path.join(folder, "tokenizer.json"), lists)

      for {ids, {decoded, without}} <- Enum.zip(lists, expected),
          {special, text} <- [{true, decoded}, {false, without}] do
        assert {ids, Tokenizer.decode(tokenizer, ids, special: special)} == {ids, text}
        pieces = tokenizer |> Tokenizer.decode_stream(ids, special: special) |> Enum.to_list()
        assert {ids, Enum.join(pieces)} == {ids, text}
        assert Enum.all?(pieces, &(String.valid?(&1) and &1 != ""))
      end
    end
  end
end
