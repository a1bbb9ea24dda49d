defmodule Mlx.LM.FineTuning.Loss do
  @moduledoc false
  # How badly a decoder foretells the tokens of a batch that count.
  #
  # A row counts the targets from the position `from` on up to the position `to`, or those of which `counts` says so. The loss is their sum over how many there
  # are in the whole batch. It is computed as a mean of rows, each times the share that it has in that, so that processes that
  # have a part of the rows each find the loss of the whole batch as their mean.

  alias Mlx.Array
  alias Mlx.LM.{Decoder, TrainingData}
  alias Mlx.NN.Losses

  @typedoc "A batch of `Mlx.LM.TrainingData.batches/3`: `tokens` and `rows` are those of all batches that make one mean."
  @type batch :: TrainingData.batch()

  @doc "The loss, a scalar of the type `:f32`. `checkpoint` is that of `Mlx.LM.Decoder.training_logits/3`."
  @spec of(Decoder.t(), batch(), boolean()) :: Array.t()
  def of(decoder, %{ids: %Array{shape: {rows, length}} = ids} = batch, checkpoint) do
    starts = with %Array{} = starts <- batch[:starts], do: Mlx.slice(starts, [0, 0], [rows, length - 1])
    inputs = Mlx.slice(ids, [0, 0], [rows, length - 1])
    logits = Decoder.training_logits(decoder, inputs, checkpoint: checkpoint, starts: starts)
    targets = Mlx.slice(ids, [0, 1], [rows, length - 1])
    counted = Mlx.multiply(Losses.cross_entropy(logits, targets), mask(batch, rows, length))
    share = Mlx.divide(Mlx.as_type(batch.rows, :f32), batch.tokens |> Mlx.max(1) |> Mlx.as_type(:f32))
    counted |> Mlx.as_type(:f32) |> Mlx.sum(axes: [1]) |> Mlx.multiply(share) |> Mlx.mean()
  end

  @doc "How many tokens count in the rows of a batch, an integer without axes. The batch may be one of pairs."
  @spec counted(map()) :: Array.t()
  def counted(%{counts: counts}), do: Mlx.sum(counts)

  def counted(%{ids: %Array{shape: shape}, from: from, to: to}) do
    last = elem(shape, tuple_size(shape) - 1) - 1
    to |> Mlx.min(last) |> Mlx.subtract(Mlx.max(from, 1)) |> Mlx.add(1) |> Mlx.max(0) |> Mlx.sum()
  end

  defp mask(%{counts: counts}, rows, length), do: counts |> Mlx.slice([0, 1], [rows, length - 1]) |> Mlx.not_equal(0)

  defp mask(%{from: from, to: to}, _rows, length) do
    places = Mlx.new_axis(Mlx.arange(1, length, type: :s32), 0)
    from = Mlx.new_axis(from, 1)
    Mlx.logical_and(Mlx.greater_equal(places, from), Mlx.less_equal(places, Mlx.new_axis(to, 1)))
  end
end
