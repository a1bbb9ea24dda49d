defmodule Mlx.LM.Encoder.FeedForward do
  @moduledoc false
  # The unit that looks at one position alone: `output(f(input(x)))`, or `output(f(a) * b)` where `a` and `b` are the halves
  # of `input(x)`.

  alias Mlx.{Array, NN}
  alias Mlx.LM.Activation
  alias Mlx.LM.Encoder.{Config, Parameter}

  @derive NN.Layer
  @enforce_keys [:input, :output, :activation, :gated]
  defstruct @enforce_keys

  @type t :: %__MODULE__{input: struct(), output: struct(), activation: String.t(), gated: boolean()}

  @doc "The unit of a configuration, with zeros for arrays."
  @spec new(Config.t()) :: t()
  def new(%Config{hidden_size: width, intermediate_size: hidden, feed_forward_bias: bias} = config) do
    %__MODULE__{
      input: Parameter.linear(width, if(config.gated, do: 2 * hidden, else: hidden), bias),
      output: Parameter.linear(hidden, width, bias),
      activation: config.activation,
      gated: config.gated
    }
  end

  @doc "The outputs for `x`, `{..., width}`."
  @spec call(t(), Array.t()) :: Array.t()
  def call(%__MODULE__{gated: true} = unit, x) do
    [activated, other] = x |> NN.forward(unit.input) |> Mlx.split(2, axis: -1)
    unit.activation |> Activation.call(activated) |> Mlx.multiply(other) |> NN.forward(unit.output)
  end

  def call(%__MODULE__{} = unit, x) do
    NN.forward(Activation.call(unit.activation, NN.forward(x, unit.input)), unit.output)
  end
end
