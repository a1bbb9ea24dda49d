defmodule Mlx.LM.Decoder.PlainFeedForward do
  @moduledoc "A feed-forward layer: `y = fc2(activation(fc1(x)))`."

  alias Mlx.{Array, NN}
  alias Mlx.Arguments.Options
  alias Mlx.LM.Activation
  alias Mlx.LM.Decoder.{Parameter, XIELU}

  @derive NN.Layer
  defstruct [:fc1, :fc2, :act_fn, :activation]

  @type t :: %__MODULE__{}

  @doc """
  A layer with zeros for arrays. Options: `:width`, `:hidden`, `:bias` (default false) and `:activation`, of which
  `"xielu"` is the layer `act_fn`, which has arrays.
  """
  @spec new(keyword()) :: t()
  def new(options) do
    defaults = [width: nil, hidden: nil, bias: false, activation: "gelu"]
    [width, hidden, bias, activation] = Options.without_stream(options, :"LM.Decoder.PlainFeedForward.new", defaults)

    %__MODULE__{
      fc1: Parameter.linear(width, hidden, bias),
      fc2: Parameter.linear(hidden, width, bias),
      act_fn: if(activation == "xielu", do: XIELU.new()),
      activation: activation
    }
  end

  @doc "The outputs for `x`, `{..., width}`."
  @spec call(t(), Array.t()) :: Array.t()
  def call(%__MODULE__{fc1: first, fc2: second} = layer, x),
    do: NN.Layer.call(second, activated(layer, NN.Layer.call(first, x)))

  defp activated(%__MODULE__{act_fn: nil, activation: activation}, x), do: Activation.call(activation, x)
  defp activated(%__MODULE__{act_fn: layer}, x), do: NN.Layer.call(layer, x)
end
