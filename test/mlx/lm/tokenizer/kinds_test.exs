defmodule Mlx.LM.Tokenizer.KindsTest do
  # Small tokenizers of random parts: every normalizer, pre-tokenizer, model, post-processor and decoder, in combinations.
  use ExUnit.Case, async: true

  alias Mlx.LM.Tokenizer
  alias Mlx.TokenizerTexts

  @moduletag :oracle

  # A character that a normalizer takes apart or away from the start of a text is still at the start for a metaspace that
  # comes first there; see `Mlx.LM.Tokenizer.Normalizer.keeps_start?/2`.
  defp left_out?(%{"normalizer" => normalizer, "pre_tokenizer" => pre_tokenizer}) do
    normalizer != nil and JSON.encode!(pre_tokenizer) =~ ~s("first")
  end

  test "give the ids, offsets and texts of the tokenizers package" do
    counts =
      for %{"json" => json, "cases" => cases} <- TokenizerTexts.tokenizers(17, 700),
          not (json |> JSON.decode!() |> left_out?()) do
        case cases do
          nil ->
            assert_raise Mlx.Error, fn -> Tokenizer.from_json(json) end
            0

          cases ->
            tokenizer = Tokenizer.from_json(json)
            Enum.each(cases, &compare(&1, tokenizer, json))
            length(cases)
        end
      end

    assert Enum.sum(counts) > 7_000
  end

  defp compare(%{"text" => text, "ids" => nil}, tokenizer, _json) do
    assert_raise Mlx.Error, fn -> Tokenizer.encode(tokenizer, text) end
  end

  defp compare(%{"text" => text, "ids" => ids} = case, tokenizer, json) do
    assert {json, text, Tokenizer.encode(tokenizer, text)} == {json, text, ids}
    encoding = Tokenizer.encoding(tokenizer, text, offsets: true)
    assert {json, text, encoding.ids} == {json, text, ids}
    assert {json, text, encoding.offsets} == {json, text, Enum.map(case["offsets"], &List.to_tuple/1)}
    same(case["decoded"], fn -> Tokenizer.decode(tokenizer, ids) end, json, ids)
    same(case["without_special"], fn -> Tokenizer.decode(tokenizer, ids, special: false) end, json, ids)
    same(case["others_decoded"], fn -> Tokenizer.decode(tokenizer, case["others"]) end, json, case["others"])

    same(
      case["others_decoded"],
      fn -> tokenizer |> Tokenizer.decode_stream(case["others"]) |> Enum.join() end,
      json,
      case["others"]
    )
  end

  # The reference cannot strip more characters from the end than there are.
  defp same(nil, _ours, _json, _ids), do: :ok
  defp same(expected, ours, json, ids), do: assert({json, ids, ours.()} == {json, ids, expected})
end
