defmodule Mlx.LM.Sampler.Filters do
  @moduledoc false
  # What leaves tokens out. A filter takes log-probabilities `{1, tokens}` and gives them with minus infinity for the
  # tokens that it leaves out. It keeps the most probable ones, and those are the same in any order of the tokens.

  alias Mlx.Array

  @doc """
  Keeps the fewest most probable tokens whose probabilities reach `p`, and all that are as probable as the last of them.
  `total` is the sum of all probabilities, where these tokens are not all.
  """
  @spec top_p(Array.t(), number(), Array.t() | nil) :: Array.t()
  def top_p(logprobs, p, _total) when p == 1, do: logprobs

  def top_p(logprobs, p, total) do
    sorted = logprobs |> Mlx.negate() |> Mlx.sort(axis: -1) |> Mlx.negate()
    probabilities = Mlx.exp(sorted)
    above = Mlx.cumulative_sum(probabilities, axis: -1, inclusive: false)
    total = total || last(Mlx.add(above, probabilities))
    kept = Mlx.less(above, Mlx.multiply(total, p))
    least = Mlx.reduce_min(Mlx.select(kept, sorted, :infinity), axes: [-1], keep_axes: true)
    keep(logprobs, Mlx.greater_equal(logprobs, least))
  end

  @doc "Keeps tokens that are at least `p` times as probable as the most probable one, and the first `count` anyhow."
  @spec min_p(Array.t(), number(), pos_integer()) :: Array.t()
  def min_p(logprobs, p, _count) when p == 0, do: logprobs

  def min_p(logprobs, p, count) do
    least = logprobs |> Mlx.reduce_max(axes: [-1], keep_axes: true) |> Mlx.add(:math.log(p))
    keep(logprobs, logprobs |> Mlx.greater_equal(least) |> keep_first(logprobs, count))
  end

  defp keep_first(kept, _logprobs, 1), do: kept
  defp keep_first(kept, %Array{shape: {1, size}}, count) when count >= size, do: Mlx.ones_like(kept)
  defp keep_first(kept, logprobs, count), do: Mlx.put_along_axis(kept, most_probable(logprobs, count), true, axis: -1)

  @doc "Keeps the `count` most probable tokens; nil keeps all."
  @spec top_k(Array.t(), pos_integer() | nil) :: Array.t()
  def top_k(%Array{shape: {1, size}} = logprobs, count) when is_nil(count) or count >= size, do: logprobs

  def top_k(logprobs, count) do
    kept = logprobs |> Mlx.zeros_like(type: :bool) |> Mlx.put_along_axis(most_probable(logprobs, count), true, axis: -1)
    keep(logprobs, kept)
  end

  @doc "The places `{1, count}` of the most probable tokens, in no order. They are cheaper to find than to sort all."
  @spec most_probable(Array.t(), pos_integer()) :: Array.t()
  def most_probable(logprobs, count) do
    logprobs |> Mlx.negate() |> Mlx.argpartition(count - 1, axis: -1) |> Mlx.slice([0, 0], [1, count])
  end

  @doc """
  Leaves out all tokens more probable than `threshold`, but for the least probable of them and the tokens `spared`. (XTC
  stands for "exclude top choices".)
  """
  @spec xtc(Array.t(), number(), Array.t() | nil) :: Array.t()
  def xtc(logprobs, threshold, spared) do
    probabilities = Mlx.softmax(logprobs, axes: [-1])
    choices = Mlx.select(Mlx.greater(probabilities, threshold), probabilities, :infinity)
    kept = Mlx.less_equal(probabilities, Mlx.reduce_min(choices, axes: [-1], keep_axes: true))
    keep(logprobs, if(spared, do: Mlx.put_along_axis(kept, spared, true, axis: -1), else: kept))
  end

  defp keep(logprobs, kept), do: Mlx.select(kept, logprobs, :neg_infinity)

  defp last(%Array{shape: {1, size}} = array), do: Mlx.slice(array, [0, size - 1], [1, 1])
end
