defmodule Mlx.LM.Decoder.RoutedExperts do
  @moduledoc """
  Experts that are chosen by the stream before their own normalisation, and that have a factor each (Gemma 4):

      scores, chosen = softmax of the `top` greatest of proj(scale * x / (sqrt(width) * rms(x)))
      y = sum of factor[expert] * scores * expert(norm(x))
  """

  alias Mlx.{Array, Fast, NN}
  alias Mlx.Arguments.Options
  alias Mlx.LM.Decoder.{Parameter, SwitchFeedForward}

  @derive NN.Layer
  defstruct [:proj, :scale, :per_expert_scale, :norm, :switch_mlp, :top, :width, :eps]

  @type t :: %__MODULE__{}

  @doc "A layer with zeros for arrays. Options: `:width`, `:experts`, `:top`, `:hidden`, `:activation` and `:eps`."
  @spec new(keyword()) :: t()
  def new(options) do
    defaults = [width: nil, experts: nil, top: nil, hidden: nil, activation: "gelu_pytorch_tanh", eps: 1.0e-6]

    [width, experts, top, hidden, activation, eps] =
      Options.without_stream(options, :"LM.Decoder.RoutedExperts.new", defaults)

    if top > experts, do: raise(Mlx.Error, message: "the configuration chooses #{top} of #{experts} experts")

    %__MODULE__{
      proj: Parameter.linear(width, experts),
      scale: Parameter.zeros({width}),
      per_expert_scale: Parameter.zeros({experts}),
      norm: Parameter.norm({:rms, eps}, width),
      switch_mlp: SwitchFeedForward.new(width, hidden, experts, false, activation),
      top: top,
      width: width,
      eps: eps
    }
  end

  @doc "The outputs for `x`, `{batch, length, width}`."
  @spec call(t(), Array.t()) :: Array.t()
  def call(%__MODULE__{top: top} = layer, %Array{shape: {batch, length, _width}} = x) do
    scale = Mlx.multiply(layer.scale, layer.width ** -0.5)
    scores = NN.Layer.call(layer.proj, Fast.rms_norm(x, scale, eps: layer.eps))
    chosen = scores |> Mlx.negate() |> Mlx.argpartition(top - 1) |> Mlx.slice([0, 0, 0], [batch, length, top])
    chosen = Mlx.stop_gradient(chosen)
    taken = scores |> Mlx.take_along_axis(chosen, axis: -1) |> Mlx.softmax(axes: -1)
    factors = Mlx.multiply(taken, Mlx.take(layer.per_expert_scale, chosen))
    y = SwitchFeedForward.call(layer.switch_mlp, NN.Layer.call(layer.norm, x), chosen)
    y |> Mlx.multiply(Mlx.new_axis(factors, -1)) |> Mlx.sum(axes: [-2]) |> Mlx.as_type(x.type)
  end
end
