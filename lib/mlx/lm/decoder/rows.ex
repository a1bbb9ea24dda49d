defmodule Mlx.LM.Decoder.Rows do
  @moduledoc false
  # The stream of one position of each text as rows, `{batch, width}` in place of `{batch, 1, width}`. MLX multiplies matrices
  # only: of arrays with more axes it makes matrices first, and has to give their products the axes again. Each of these is an
  # operation, eight in a block, of which a decoding step has about twenty others.

  alias Mlx.{Array, NN}
  alias Mlx.LM.Decoder
  alias Mlx.LM.Decoder.{Attention, Block}

  # The layers that take any number of axes before the features.
  @layers [
    NN.RMSNorm,
    NN.LayerNorm,
    Decoder.GatedFeedForward,
    Decoder.PlainFeedForward,
    Decoder.PlainRMSNorm,
    Decoder.RoundedRMSNorm,
    Decoder.ShiftedLayerNorm,
    Decoder.ShiftedRMSNorm,
    Decoder.WeighedRMSNorm
  ]

  @doc "The stream as rows where it is of one position, and all mixers of the blocks take rows; else as it is."
  @spec of(Array.t(), [Block.t()]) :: Array.t()
  def of(%Array{shape: {_batch, 1, _width}} = x, blocks) do
    if Enum.all?(blocks, &block_takes?/1), do: Mlx.squeeze(x, axes: [1]), else: x
  end

  def of(x, _blocks), do: x

  defp block_takes?(block), do: block |> Block.mixers() |> Enum.all?(&mixer_takes?/1)

  defp mixer_takes?(%Attention{mixture: nil, indexer: nil}), do: true
  defp mixer_takes?(_mixer), do: false

  @doc "The stream with its axis of positions."
  @spec positions(Array.t()) :: Array.t()
  def positions(%Array{shape: {_batch, _width}} = x), do: Mlx.new_axis(x, 1)
  def positions(x), do: x

  @doc "What a layer gives for the stream, in the axes of the stream."
  @spec call(struct(), Array.t()) :: Array.t()
  def call(%module{} = layer, %Array{shape: {_batch, _width}} = x) when module not in @layers do
    layer |> NN.Layer.call(positions(x)) |> Mlx.squeeze(axes: [1])
  end

  def call(layer, x), do: NN.Layer.call(layer, x)
end
