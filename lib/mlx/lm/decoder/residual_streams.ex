defmodule Mlx.LM.Decoder.ResidualStreams do
  @moduledoc """
  The stream of blocks of which some begin with nothing (`Mlx.LM.Decoder.ResidualBlock`): a list of the sum that the block
  goes on with and the finished ones before it. They end in a mean with weights:

      weights = softmax over sums of proj(norm(sum))
      y = sum over sums of weight * sum

  Source: Kimi Team, "Attention Residuals" (2026).
  """

  alias Mlx.{Array, NN}
  alias Mlx.Arguments.Options
  alias Mlx.LM.Decoder.Parameter

  @enforce_keys [:proj, :norm]
  defstruct @enforce_keys

  @type t :: %__MODULE__{}

  @doc "A mean with zeros for arrays. Options: `:width`, and `:norm`, such as `{:rms, 1.0e-6}`."
  @spec new(keyword()) :: t()
  def new(options) do
    [width, norm] = Options.without_stream(options, :"LM.Decoder.ResidualStreams.new", width: nil, norm: nil)
    %__MODULE__{proj: Parameter.linear(width, 1), norm: Parameter.norm(norm, width)}
  end

  @doc "The sums before the first block: `x` alone."
  @spec spread(t(), Array.t()) :: [Array.t()]
  def spread(%__MODULE__{}, x), do: [x]

  @doc "Their mean."
  @spec merge(t(), [Array.t()]) :: Array.t()
  def merge(%__MODULE__{}, [x]), do: x

  def merge(%__MODULE__{} = mean, [%Array{type: type} | _] = sums) do
    sums = sums |> Mlx.stack() |> Mlx.as_type(:f32)
    weights = mean.proj |> NN.Layer.call(NN.Layer.call(mean.norm, sums)) |> Mlx.softmax(axes: 0, precise: true)
    sums |> Mlx.multiply(weights) |> Mlx.sum(axes: [0]) |> Mlx.as_type(type)
  end
end
