defmodule Mlx.LM.Decoder.DelayedStreams do
  @moduledoc """
  Several residual streams, `{batch, length, streams, width}`, and how much the next part takes of each, `{batch, length,
  streams}`, which the part before it says (`Mlx.LM.Decoder.HyperBlock`). The first part takes the embedding. It has no arrays.
  """

  alias Mlx.Array
  alias Mlx.Arguments.Options
  alias Mlx.LM.Decoder.HyperConnection

  @enforce_keys [:count]
  defstruct @enforce_keys

  @type t :: %__MODULE__{count: pos_integer()}

  @doc "The streams. Options: `:count`."
  @spec new(keyword()) :: t()
  def new(options) do
    [count] = Options.without_stream(options, :"LM.Decoder.DelayedStreams.new", count: nil)
    %__MODULE__{count: count}
  end

  @doc "The streams of `x`, `{batch, length, width}`, and what is taken of them."
  @spec spread(t(), Array.t()) :: [Array.t()]
  def spread(%__MODULE__{count: count}, %Array{shape: {batch, length, width}} = x) do
    first = Mlx.as_type(Mlx.equal(Mlx.arange(0, count, type: :s32), 0), :f32)
    [Mlx.broadcast(Mlx.new_axis(x, 2), {batch, length, count, width}), Mlx.broadcast(first, {batch, length, count})]
  end

  @doc "The one stream that they end in."
  @spec merge(t(), [Array.t()]) :: Array.t()
  def merge(%__MODULE__{}, [streams, factors]), do: HyperConnection.collapsed(factors, streams)
end
