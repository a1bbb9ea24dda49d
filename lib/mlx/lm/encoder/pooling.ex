defmodule Mlx.LM.Encoder.Pooling do
  @moduledoc false
  # One vector for the vectors of a text. What is padding has no part in it.

  alias Mlx.Array

  @typedoc """
  How vectors become one:

    * `:cls` - the first one
    * `:last` - the last one
    * `:mean`, `:max` - the mean and the greatest numbers
    * `:mean_sqrt_len` - the sum, divided by the square root of how many there are
    * `:weighted_mean` - the mean with the weights 1, 2, 3, ...
  """
  @type mode :: :cls | :last | :mean | :max | :mean_sqrt_len | :weighted_mean

  @modes [:cls, :last, :mean, :max, :mean_sqrt_len, :weighted_mean]

  @doc "The names of all modes."
  @spec modes() :: [mode()]
  def modes, do: @modes

  @doc """
  The vectors `{batch, width}` of `x`, `{batch, length, width}`, whose first `lengths`, `{batch}`, are those of a text, one
  mode's after the other's. The first `skipped` of these are part of no mean, sum and maximum.
  """
  @spec call(Array.t(), Array.t(), [mode()], non_neg_integer()) :: Array.t()
  def call(%Array{} = x, %Array{} = lengths, modes, skipped \\ 0) do
    case for(mode <- modes, do: pool(mode, x, lengths, skipped)) do
      [one] -> one
      several -> Mlx.concatenate(several, axis: -1)
    end
  end

  defp pool(:cls, x, _lengths, _skipped), do: x[[.., 0]]

  defp pool(:last, %Array{shape: {batch, _length, width}} = x, lengths, _skipped) do
    last = lengths |> Mlx.subtract(1) |> Mlx.reshape({batch, 1, 1})
    x |> Mlx.take_along_axis(last, axis: 1) |> Mlx.reshape({batch, width})
  end

  defp pool(:mean, x, lengths, skipped), do: divide(sum(x, lengths, skipped), count(lengths, skipped))

  defp pool(:mean_sqrt_len, x, lengths, skipped) do
    divide(sum(x, lengths, skipped), Mlx.sqrt(Mlx.as_type(count(lengths, skipped), :f32)))
  end

  defp pool(:max, x, lengths, skipped) do
    lengths |> counted(x, skipped) |> Mlx.select(x, Mlx.array(:neg_infinity, type: x.type)) |> Mlx.reduce_max(axes: [1])
  end

  defp pool(:weighted_mean, %Array{shape: {_batch, length, _width}} = x, lengths, skipped) do
    weights = 1 |> Mlx.arange(length + 1, type: x.type) |> Mlx.reshape({1, length, 1})
    weights = Mlx.select(counted(lengths, x, skipped), weights, Mlx.array(0, type: x.type))
    divide(sum(Mlx.multiply(x, weights), lengths, skipped), Mlx.sum(weights, axes: [1]))
  end

  defp divide(sum, count), do: Mlx.divide(sum, count)

  # Of padding there may be anything.
  defp sum(x, lengths, skipped) do
    lengths |> counted(x, skipped) |> Mlx.select(x, Mlx.array(0, type: x.type)) |> Mlx.sum(axes: [1])
  end

  # A text that has nothing but what is skipped gives zeros.
  defp count(lengths, skipped), do: lengths |> Mlx.subtract(skipped) |> Mlx.max(1) |> Mlx.new_axis(-1)

  defp counted(lengths, %Array{shape: {batch, length, _width}}, skipped) do
    positions = 0 |> Mlx.arange(length, type: :s32) |> Mlx.reshape({1, length, 1})
    token = Mlx.less(positions, Mlx.reshape(lengths, {batch, 1, 1}))
    if skipped == 0, do: token, else: Mlx.logical_and(token, Mlx.greater_equal(positions, skipped))
  end
end
