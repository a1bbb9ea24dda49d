defmodule Mlx.LM.Tokenizer.ScoredMerges do
  @moduledoc false
  # The merges of a vocabulary of scores: any two tokens that make a third become it, that of the best score first.

  # Tokens that text is made of.
  @normal 1
  @user_defined 4
  @longest 256

  @doc "The merges with their ranks, from the scores and the types of all tokens."
  @spec of(%{String.t() => non_neg_integer}, [number], [integer]) :: [{String.t(), String.t(), non_neg_integer}]
  def of(vocabulary, scores, types) do
    types = List.to_tuple(types)
    scores = List.to_tuple(scores)

    tokens =
      for {token, id} <- vocabulary,
          elem(types, id) in [@normal, @user_defined],
          byte_size(token) <= @longest,
          do: {token, id}

    ranks =
      tokens
      |> Enum.sort_by(fn {_token, id} -> {-elem(scores, id), id} end)
      |> Enum.chunk_by(fn {_token, id} -> elem(scores, id) end)
      |> Enum.with_index()

    for {tokens, rank} <- ranks,
        {token, _id} <- tokens,
        {left, right} <- halves(token, 1),
        known?(left, vocabulary),
        known?(right, vocabulary) do
      {left, right, rank}
    end
  end

  defp known?(token, vocabulary), do: is_map_key(vocabulary, token)

  defp halves(token, at) when at >= byte_size(token), do: []

  defp halves(token, at) do
    <<left::binary-size(at), right::binary>> = token

    case right do
      <<byte, _rest::binary>> when byte in 0x80..0xBF -> halves(token, at + 1)
      _character -> [{left, right} | halves(token, at + 1)]
    end
  end
end
