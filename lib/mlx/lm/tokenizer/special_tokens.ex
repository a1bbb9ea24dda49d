defmodule Mlx.LM.Tokenizer.SpecialTokens do
  @moduledoc false
  # What `tokenizer_config.json` says of tokens: which one begins a text, ends it, fills it up, and so on.

  alias Mlx.LM.Tokenizer.AddedTokens

  @names ~w(bos_token eos_token unk_token sep_token pad_token cls_token mask_token)a

  # Special tokens that end an answer, where no file lists those that do.
  @endings [
    "<|endoftext|>",
    "<|im_end|>",
    "<|end|>",
    "<|return|>",
    "<|call|>",
    "<|calls|>",
    "<|flush|>",
    "<|end_of_text|>",
    "<|eot_id|>",
    "<|eom_id|>",
    "<|eot|>",
    "<|eom|>",
    "<end_of_turn>",
    "<turn|>",
    "<|tool_response>",
    "<end_of_utterance>",
    "<EOT>",
    "_<EOT>",
    "[EOT]",
    "[EOS]",
    "<｜end▁of▁sentence｜>"
  ]

  # What ends a part of an answer and not all of it, where a vocabulary has one of these sets of tokens for channels: those
  # of gpt-oss, and of Solar.
  @part "<|end|>"
  @channels [["<|return|>", "<|call|>"], ["<|flush|>", "<|calls|>"], ["<|channel|>"]]

  @doc "The named tokens as they are written, and those of them that have an id in a vocabulary."
  @spec named(map, %{String.t() => non_neg_integer}) :: %{tokens: keyword, ids: %{atom => non_neg_integer}}
  def named(config, vocabulary) do
    tokens = for name <- @names, token = written(config[Atom.to_string(name)]), do: {name, token}
    %{tokens: tokens, ids: for({name, token} <- tokens, id = vocabulary[token], into: %{}, do: {name, id})}
  end

  defp written(token) when is_binary(token), do: token
  defp written(%{"content" => token}) when is_binary(token), do: token
  defp written(_other), do: nil

  @doc "Added tokens that only `tokenizer_config.json` has, with the ids that it gives."
  @spec missing(map, [AddedTokens.token()], map) :: [AddedTokens.token()]
  def missing(config, added, vocabulary) do
    known = MapSet.new(added, & &1.content)
    taken = MapSet.new(added, & &1.id)

    with %{} = tokens <- config["added_tokens_decoder"] do
      for {digits, %{"content" => content} = token} when is_binary(content) and content != "" <- tokens,
          content not in known,
          {id, ""} when id >= 0 <- [Integer.parse(digits)],
          id = Map.get(vocabulary, content, id),
          id not in taken do
        special = token["special"] == true

        %{
          content: content,
          id: id,
          special: special,
          normalized: token["normalized"] == true,
          left: token["lstrip"] == true,
          right: token["rstrip"] == true,
          word: token["single_word"] == true
        }
      end
    else
      _none -> []
    end
  end

  @doc """
  The ids that end an answer: the end token and those that are listed, or, where none are, special tokens that are known to.
  """
  @spec end_ids([AddedTokens.token()], map, non_neg_integer | nil, [non_neg_integer] | nil) :: MapSet.t(non_neg_integer)
  def end_ids(special, ids, eos, nil) do
    endings = if channels?(ids), do: @endings -- [@part], else: @endings
    MapSet.new(List.wrap(eos) ++ for(%{content: content, id: id} <- special, content in endings, do: id))
  end

  def end_ids(_special, _ids, eos, listed), do: MapSet.new(List.wrap(eos) ++ listed)

  @doc "The ids that end an answer, without the token that ends a part of one in a vocabulary with channels."
  @spec without_parts(MapSet.t(non_neg_integer), map) :: MapSet.t(non_neg_integer)
  def without_parts(end_ids, ids), do: if(channels?(ids), do: MapSet.delete(end_ids, ids[@part]), else: end_ids)

  defp channels?(ids), do: Enum.any?(@channels, fn tokens -> Enum.all?(tokens, &is_map_key(ids, &1)) end)
end
