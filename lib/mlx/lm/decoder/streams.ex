defmodule Mlx.LM.Decoder.Streams do
  @moduledoc """
  Several residual streams side by side, `{streams, batch, length, width}`, for blocks that go on with all of them
  (`Mlx.LM.Decoder.AlternatingBlock`):

      streams = [x, size(x) projections(x), ...]
      y = mean of [stream 0, size(stream 0) unembed(other streams), ...]

  where `size(x)` gives an array the root mean square of `x`.
  """

  alias Mlx.{Array, NN}
  alias Mlx.Arguments.Options
  alias Mlx.LM.Decoder.Parameter

  @least 1.0e-30

  defstruct [:projections, :unembed]

  @type t :: %__MODULE__{}

  @doc "Streams with zeros for arrays. Options: `:width`, and `:count`, how many there are."
  @spec new(keyword()) :: t()
  def new(options) do
    [width, count] = Options.without_stream(options, :"LM.Decoder.Streams.new", width: nil, count: nil)
    others = for _stream <- 2..count//1, do: Parameter.linear(width, width)
    %__MODULE__{projections: others, unembed: others}
  end

  @doc "The streams of `x`, `{batch, length, width}`."
  @spec spread(t(), Array.t()) :: Array.t()
  def spread(%__MODULE__{projections: layers}, x) do
    Mlx.stack([x | for(layer <- layers, do: sized(NN.Layer.call(layer, x), x))])
  end

  @doc "The one stream that they end in."
  @spec merge(t(), Array.t()) :: Array.t()
  def merge(%__MODULE__{unembed: layers}, streams) do
    [first | others] = streams |> Mlx.split(length(layers) + 1) |> Enum.map(&Mlx.squeeze(&1, axes: [0]))
    Mlx.mean(Mlx.stack([first | Enum.zip_with(layers, others, &sized(NN.Layer.call(&1, &2), first))]), axes: [0])
  end

  defp sized(x, model), do: Mlx.multiply(x, Mlx.divide(size(model), Mlx.max(size(x), @least)))
  defp size(x), do: x |> Mlx.square() |> Mlx.mean(axes: [-1], keep_axes: true) |> Mlx.sqrt()
end
