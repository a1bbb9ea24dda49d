defmodule Mlx.LM.Decoder.LoRALinear do
  @moduledoc """
  A linear layer with a change of low rank, as adapters bring it: `y = linear(x) + scale * (x @ lora_a) @ lora_b`.

  | array | shape |
  | --- | --- |
  | `lora_a` | `{inputs, rank}` |
  | `lora_b` | `{rank, outputs}` |

  `linear` is any linear layer, also a quantized one. `dropout` is nil, or an `Mlx.NN.Dropout` of what the change is computed
  from, for training. Python: `LoRALinear` of `mlx_lm.tuner.lora`.
  """

  alias Mlx.{Array, NN}

  @derive NN.Layer
  @enforce_keys [:linear, :lora_a, :lora_b, :scale]
  defstruct @enforce_keys ++ [dropout: nil]

  @type t :: %__MODULE__{
          linear: struct(),
          lora_a: Array.t(),
          lora_b: Array.t(),
          scale: float(),
          dropout: NN.Dropout.t() | nil
        }

  @doc "The outputs for `x`, `{..., inputs}`."
  @spec call(t(), Array.t()) :: Array.t()
  def call(%__MODULE__{} = layer, %Array{type: type} = x) do
    change = layer.dropout |> dropped(x) |> Mlx.matmul(layer.lora_a) |> Mlx.matmul(layer.lora_b)
    Mlx.add(NN.Layer.call(layer.linear, x), change |> Mlx.multiply(layer.scale) |> Mlx.as_type(type))
  end

  @doc false
  @spec dropped(NN.Dropout.t() | nil, Array.t()) :: Array.t()
  def dropped(nil, x), do: x
  def dropped(dropout, x), do: NN.Layer.call(dropout, x)
end
