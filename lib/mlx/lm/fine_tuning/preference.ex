defmodule Mlx.LM.FineTuning.Preference do
  @moduledoc false
  # How well a decoder tells the answers that were chosen from those that were rejected, by the logarithms of their
  # probabilities.
  #
  # DPO is of Rafailov and others, 2023 (equation 7), ORPO of Hong and others, 2024.

  alias Mlx.Array
  alias Mlx.LM.Decoder
  alias Mlx.LM.FineTuning.LogProbabilities

  @typedoc "Of what was chosen and of what was rejected, arrays `{rows}`: the sums over tokens, and how many tokens these are."
  @type sums :: %{chosen: Array.t(), rejected: Array.t(), chosen_tokens: Array.t(), rejected_tokens: Array.t()}

  @typedoc "The loss and the margin of each row."
  @type result :: %{loss: Array.t(), margin: Array.t()}

  # A probability of one has no odds.
  @most -1.0e-6

  @doc """
  DPO: `margin = beta * ((chosen - rejected) - (reference.chosen - reference.rejected))` and `loss = -log(sigmoid(margin))`.
  """
  @spec dpo(sums(), sums(), number()) :: result()
  def dpo(policy, reference, beta) do
    margin =
      Mlx.subtract(
        Mlx.subtract(policy.chosen, policy.rejected),
        Mlx.subtract(reference.chosen, reference.rejected)
      )

    margin = Mlx.multiply(margin, beta)
    %{loss: surprise(margin), margin: margin}
  end

  @doc """
  ORPO: with the means over tokens `chosen` and `rejected`, and `log_odds(p) = p - log(1 - exp(p))`,
  `margin = log_odds(chosen) - log_odds(rejected)` and `loss = -chosen - beta * log(sigmoid(margin))`.
  """
  @spec orpo(sums(), number()) :: result()
  def orpo(policy, beta) do
    chosen = Mlx.divide(policy.chosen, policy.chosen_tokens)
    rejected = Mlx.divide(policy.rejected, policy.rejected_tokens)
    margin = Mlx.subtract(log_odds(chosen), log_odds(rejected))
    %{loss: margin |> surprise() |> Mlx.multiply(beta) |> Mlx.subtract(chosen), margin: margin}
  end

  # -log(sigmoid(x)), which no x makes infinite.
  defp surprise(x), do: Mlx.logaddexp(Mlx.negate(x), 0.0)

  defp log_odds(log) do
    log = Mlx.min(log, @most)
    Mlx.subtract(log, log |> Mlx.expm1() |> Mlx.negate() |> Mlx.log())
  end

  @doc "The sums of a batch of pairs of `Mlx.LM.TrainingData.batches/3`."
  @spec sums(Decoder.t(), map(), false | (String.t() -> boolean())) :: sums()
  def sums(decoder, %{ids: %Array{shape: {rows, 2, length}} = ids} = batch, checkpoint) do
    [from, to] = for array <- [batch.from, batch.to], do: Mlx.reshape(array, {2 * rows})
    mask = LogProbabilities.mask(from, to, length)
    logs = LogProbabilities.of(decoder, Mlx.reshape(ids, {2 * rows, length}), checkpoint)
    [chosen, rejected] = logs |> Mlx.multiply(mask) |> answers(rows)
    [chosen_tokens, rejected_tokens] = answers(mask, rows)
    %{chosen: chosen, rejected: rejected, chosen_tokens: chosen_tokens, rejected_tokens: rejected_tokens}
  end

  defp answers(array, rows) do
    array |> Mlx.sum(axes: [1]) |> Mlx.reshape({rows, 2}) |> Mlx.unstack(axis: 1)
  end
end
