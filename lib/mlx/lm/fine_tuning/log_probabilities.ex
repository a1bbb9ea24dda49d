defmodule Mlx.LM.FineTuning.LogProbabilities do
  @moduledoc false
  # The logarithms of the probabilities that a decoder gives to the tokens of texts.

  alias Mlx.Array
  alias Mlx.LM.Decoder
  alias Mlx.NN.Losses

  @doc """
  Those of the tokens after the first, `{rows, length - 1}` of the type `:f32`. `checkpoint` is that of
  `Mlx.LM.Decoder.training_logits/3`; logits are divided by the temperature.
  """
  @spec of(Decoder.t(), Array.t(), false | (String.t() -> boolean()), number()) :: Array.t()
  def of(decoder, %Array{shape: {rows, length}} = ids, checkpoint, temperature \\ 1.0) do
    logits = Decoder.training_logits(decoder, Mlx.slice(ids, [0, 0], [rows, length - 1]), checkpoint: checkpoint)
    targets = Mlx.slice(ids, [0, 1], [rows, length - 1])
    logits |> Mlx.as_type(:f32) |> tempered(temperature) |> Losses.cross_entropy(targets) |> Mlx.negate()
  end

  defp tempered(logits, temperature) when temperature == 1, do: logits
  defp tempered(logits, temperature), do: Mlx.divide(logits, temperature)

  @doc """
  Which of these count: those of the tokens at the positions from `from` on and before `to`, arrays `{rows}`. Numbers 0.0 and
  1.0, `{rows, length - 1}`.
  """
  @spec mask(Array.t(), Array.t(), pos_integer()) :: Array.t()
  def mask(from, to, length) do
    places = Mlx.new_axis(Mlx.arange(1, length, type: :s32), 0)
    after_from = Mlx.greater_equal(places, Mlx.new_axis(from, 1))
    after_from |> Mlx.logical_and(Mlx.less(places, Mlx.new_axis(to, 1))) |> Mlx.as_type(:f32)
  end
end
