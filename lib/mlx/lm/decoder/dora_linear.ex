defmodule Mlx.LM.Decoder.DoRALinear do
  @moduledoc """
  A linear layer with a change of low rank and a length for each row of the changed matrix:

      w = weight + scale * (lora_a @ lora_b)'
      y = m / |w| * (x @ w') + bias

  | array | shape |
  | --- | --- |
  | `lora_a` | `{inputs, rank}` |
  | `lora_b` | `{rank, outputs}` |
  | `m` | `{outputs}` |

  `linear` is any linear layer; a quantized one is unpacked in each call. The lengths `|w|` have no gradient. `dropout` is nil,
  or an `Mlx.NN.Dropout` of what the change is computed from, for training.

  Source: Liu et al., "DoRA: Weight-Decomposed Low-Rank Adaptation" (2024). Python: `DoRALinear` of `mlx_lm.tuner.dora`.
  """

  alias Mlx.{Array, NN}
  alias Mlx.LM.Decoder.{LoRALinear, Matrix}

  @derive NN.Layer
  @enforce_keys [:linear, :lora_a, :lora_b, :m, :scale]
  defstruct @enforce_keys ++ [dropout: nil]

  @type t :: %__MODULE__{
          linear: struct(),
          lora_a: Array.t(),
          lora_b: Array.t(),
          m: Array.t(),
          scale: float(),
          dropout: NN.Dropout.t() | nil
        }

  @doc "The outputs for `x`, `{..., inputs}`."
  @spec call(t(), Array.t()) :: Array.t()
  def call(%__MODULE__{} = layer, %Array{type: type} = x) do
    weight = Matrix.dense(layer.linear)
    change = layer.dropout |> LoRALinear.dropped(x) |> Mlx.matmul(layer.lora_a) |> Mlx.matmul(layer.lora_b)
    y = x |> Mlx.matmul(Mlx.transpose(weight)) |> Mlx.add(change |> Mlx.multiply(layer.scale) |> Mlx.as_type(type))
    changed = Mlx.add(weight, layer.lora_a |> Mlx.matmul(layer.lora_b) |> Mlx.transpose() |> Mlx.multiply(layer.scale))
    y = layer.m |> Mlx.divide(Mlx.stop_gradient(Matrix.lengths(changed))) |> Mlx.as_type(type) |> Mlx.multiply(y)
    if layer.linear.bias, do: Mlx.add(y, layer.linear.bias), else: y
  end
end
