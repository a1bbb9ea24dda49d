defmodule Mlx.Test.ChiSquare do
  @moduledoc false
  # Whether tokens have the distribution that they should have.

  @doc """
  How far a chi-square statistic is from what is expected of it, in standard deviations. `counts` and `probabilities` are of the
  same cells; those that are hardly expected are taken together.
  """
  @spec deviation([{[non_neg_integer()], [float()]}]) :: float()
  def deviation(rows) do
    {chi, freedom} =
      for {counts, probabilities} <- rows, reduce: {0.0, 0} do
        {chi, freedom} ->
          total = Enum.sum(counts)
          cells = for {count, p} <- Enum.zip(counts, probabilities), do: {count, p * total}

          for {count, expected} <- cells,
              count > 0 and expected == 0.0,
              do: raise("a token came that has no probability")

          {rare, common} = Enum.split_with(cells, fn {_count, expected} -> expected < 5 end)
          cells = [Enum.reduce(rare, {0, 0.0}, fn {c, e}, {count, sum} -> {count + c, sum + e} end) | common]
          cells = Enum.filter(cells, fn {_count, expected} -> expected >= 1 end)
          parts = for {count, expected} <- cells, do: (count - expected) ** 2 / expected
          {chi + Enum.sum(parts), freedom + length(parts) - 1}
      end

    (chi - freedom) / :math.sqrt(2 * freedom)
  end

  @doc "How often each of the tokens below `size` is among some."
  @spec counts([non_neg_integer()], pos_integer()) :: [non_neg_integer()]
  def counts(ids, size) do
    found = Enum.frequencies(ids)
    for id <- 0..(size - 1), do: Map.get(found, id, 0)
  end

  @doc "How often each token comes after each, of a text of tokens below `size`."
  @spec pairs([non_neg_integer()], pos_integer()) :: [[non_neg_integer()]]
  def pairs(ids, size) do
    by_token = ids |> Enum.zip(tl(ids)) |> Enum.group_by(&elem(&1, 0), &elem(&1, 1))
    for id <- 0..(size - 1), do: counts(Map.get(by_token, id, []), size)
  end

  @doc "How often each token comes after each in all of the texts."
  @spec pairs_of_all([[non_neg_integer()]], pos_integer()) :: [[non_neg_integer()]]
  def pairs_of_all(texts, size) do
    texts |> Enum.map(&pairs(&1, size)) |> Enum.zip_with(fn rows -> Enum.zip_with(rows, &Enum.sum/1) end)
  end

  @doc "The deviation of such pairs from the probabilities that each token has after each."
  @spec deviation_of_pairs([[non_neg_integer()]], [[float()]]) :: float()
  def deviation_of_pairs(pairs, probabilities) do
    deviation(for {row, p} <- Enum.zip(pairs, probabilities), Enum.sum(row) > 0, do: {row, p})
  end

  @doc "The same, of tokens that came often, from a model that the texts are not of: it may give a token that came no probability."
  @spec deviation_from_another([[non_neg_integer()]], [[float()]]) :: float()
  def deviation_from_another(pairs, probabilities) do
    deviation(
      for {row, p} <- Enum.zip(pairs, probabilities),
          Enum.sum(row) > 20,
          do: {row, for(x <- p, do: max(x, 1.0e-6))}
    )
  end
end
