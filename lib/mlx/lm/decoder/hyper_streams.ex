defmodule Mlx.LM.Decoder.HyperStreams do
  @moduledoc """
  Several residual streams, `{batch, length, streams, width}`, which all begin as the embedding
  (`Mlx.LM.Decoder.HyperBlock`), and the one that they end in, a sum with a factor of each:

      factors = sigmoid(hc_scale * hc_fn(x / rms(x)) + hc_base) + eps, where x is all streams one after the other
  """

  alias Mlx.Array
  alias Mlx.Arguments.Options
  alias Mlx.LM.Decoder.{HyperConnection, Parameter}

  defstruct [:hc_fn, :hc_base, :hc_scale, :count, :norm_eps, :eps]

  @type t :: %__MODULE__{}

  @doc "Streams with zeros for arrays. Options: `:width`, `:count`, `:norm_eps` and `:eps`."
  @spec new(keyword()) :: t()
  def new(options) do
    defaults = [width: nil, count: nil, norm_eps: nil, eps: nil]
    [width, count, norm_eps, eps] = Options.without_stream(options, :"LM.Decoder.HyperStreams.new", defaults)

    %__MODULE__{
      hc_fn: Parameter.zeros({count, count * width}),
      hc_base: Parameter.zeros({count}),
      hc_scale: Parameter.zeros({1}),
      count: count,
      norm_eps: norm_eps,
      eps: eps
    }
  end

  @doc "The streams of `x`, `{batch, length, width}`."
  @spec spread(t(), Array.t()) :: Array.t()
  def spread(%__MODULE__{count: count}, %Array{shape: {batch, length, width}} = x) do
    Mlx.broadcast(Mlx.new_axis(x, 2), {batch, length, count, width})
  end

  @doc "The one stream that they end in."
  @spec merge(t(), Array.t()) :: Array.t()
  def merge(%__MODULE__{} = layer, streams) do
    mixes = HyperConnection.mixes(streams, layer.hc_fn, layer.norm_eps)
    factors = mixes |> Mlx.multiply(layer.hc_scale) |> Mlx.add(layer.hc_base) |> Mlx.sigmoid() |> Mlx.add(layer.eps)
    HyperConnection.collapsed(factors, streams)
  end
end
