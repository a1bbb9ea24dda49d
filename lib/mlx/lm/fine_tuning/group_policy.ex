defmodule Mlx.LM.FineTuning.GroupPolicy do
  @moduledoc false
  # The formulas of GRPO, of Shao and others, 2024 (equations 3 and 4 and section 4.1.2).

  alias Mlx.Array

  @doc """
  How much better each reward of a group is than the group: `(reward - mean) / deviation`, and zeros where all are alike.
  """
  @spec advantages([number(), ...]) :: [float(), ...]
  def advantages(rewards) do
    count = length(rewards)
    mean = Enum.sum(rewards) / count
    deviation = :math.sqrt(Enum.sum_by(rewards, &((&1 - mean) * (&1 - mean))) / count)
    for reward <- rewards, do: if(deviation > 1.0e-9 * abs(mean), do: (reward - mean) / deviation, else: 0.0)
  end

  @doc """
  The loss of a group, a scalar: with `ratio = exp(logs - old)`, the mean over the texts of the means over their tokens of
  `beta * divergence(logs, reference) - min(ratio * advantage, clipped(ratio) * advantage)`, in which the ratio is clipped to
  `1 - clip` and `1 + clip`.

  `logs` are log-probabilities of tokens, `{texts, tokens}`, of which those of `mask` count. `group` has those that the model
  had when it made the texts (`old`) and those of the `reference`, and `advantages` `{texts}`.
  """
  @spec loss(Array.t(), Array.t(), %{old: Array.t(), reference: Array.t(), advantages: Array.t()}, number(), number()) ::
          Array.t()
  def loss(logs, mask, group, clip, beta) do
    # What does not count is no number that could be too large.
    ratio = logs |> Mlx.subtract(group.old) |> Mlx.multiply(mask) |> Mlx.exp()
    advantages = Mlx.new_axis(group.advantages, 1)
    clipped = Mlx.clip(ratio, 1 - clip, 1 + clip)
    gain = Mlx.min(Mlx.multiply(ratio, advantages), Mlx.multiply(clipped, advantages))

    logs
    |> divergence(group.reference, mask)
    |> Mlx.multiply(beta)
    |> Mlx.subtract(gain)
    |> mean(mask)
  end

  @doc """
  How far the model is from the reference at each token that counts, which is never negative and in the mean is their
  Kullback-Leibler divergence: `exp(reference - logs) - (reference - logs) - 1`.
  """
  @spec divergence(Array.t(), Array.t(), Array.t()) :: Array.t()
  def divergence(logs, reference, mask) do
    difference = reference |> Mlx.subtract(logs) |> Mlx.multiply(mask)
    difference |> Mlx.expm1() |> Mlx.subtract(difference)
  end

  @doc "The mean over the texts of the means over their tokens."
  @spec mean(Array.t(), Array.t()) :: Array.t()
  def mean(values, mask) do
    sums = values |> Mlx.multiply(mask) |> Mlx.sum(axes: [1])
    sums |> Mlx.divide(Mlx.sum(mask, axes: [1])) |> Mlx.mean()
  end
end
