defmodule Mlx.LM.Llama.FeedForward do
  @moduledoc """
  The gated linear unit SwiGLU:

      y = (silu(x Wgate') * x Wup') Wdown',  silu(z) = z sigmoid(z)
  """

  alias Mlx.Array
  alias Mlx.LM.{Linear, Weights}

  @enforce_keys [:gate_and_up, :down]
  defstruct @enforce_keys

  @type t :: %__MODULE__{gate_and_up: Linear.t(), down: Linear.t()}

  @doc "The unit of the block whose tensors' names start with `block`."
  @spec new(Weights.t(), String.t()) :: t()
  def new(weights, block) do
    %__MODULE__{
      gate_and_up: Linear.new(weights, ["#{block}.ffn_gate", "#{block}.ffn_up"]),
      down: Linear.new(weights, "#{block}.ffn_down")
    }
  end

  @doc "The outputs for `x` of the shape `{..., width}`."
  @spec call(t(), Array.t()) :: Array.t()
  def call(%__MODULE__{} = unit, x) do
    [gate, up] = unit.gate_and_up |> Linear.call(x) |> Mlx.split(2, axis: -1)
    Linear.call(unit.down, gate |> Mlx.sigmoid() |> Mlx.multiply(gate) |> Mlx.multiply(up))
  end
end
