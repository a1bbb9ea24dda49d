defmodule Mlx.LM.Decoder.Replacement do
  @moduledoc "A linear layer in the place of a part: `y = linear(x)`."

  alias Mlx.{Array, NN}
  alias Mlx.LM.Decoder.Parameter

  @derive NN.Layer
  @enforce_keys [:linear]
  defstruct @enforce_keys

  @type t :: %__MODULE__{linear: struct()}

  @doc "A layer with zeros for arrays. Options: `:width`, and `:bias`, whether it has one."
  @spec new(width: pos_integer(), bias: boolean()) :: t()
  def new(width: width, bias: bias), do: %__MODULE__{linear: Parameter.linear(width, width, bias)}

  @doc "The outputs for `x`, `{..., width}`."
  @spec call(t(), Array.t()) :: Array.t()
  def call(%__MODULE__{linear: linear}, x), do: NN.Layer.call(linear, x)
end
