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
  or an `Mlx.NN.Dropout` of what the change is computed from, for training. `factor` is nil, or `m / |w|`, where nothing is
  trained (`fixed/1`).

  Source: Liu et al., "DoRA: Weight-Decomposed Low-Rank Adaptation" (2024). Python: `DoRALinear` of `mlx_lm.tuner.dora`.
  """

  alias Mlx.{Array, NN}
  alias Mlx.LM.Decoder.{LoRALinear, Matrix}

  @derive NN.Layer
  @enforce_keys [:linear, :lora_a, :lora_b, :m, :scale]
  defstruct @enforce_keys ++ [dropout: nil, factor: nil]

  @type t :: %__MODULE__{
          linear: struct(),
          lora_a: Array.t(),
          lora_b: Array.t(),
          m: Array.t(),
          scale: float(),
          dropout: NN.Dropout.t() | nil,
          factor: Array.t() | nil
        }

  @doc "The outputs for `x`, `{..., inputs}`."
  @spec call(t(), Array.t()) :: Array.t()
  def call(%__MODULE__{factor: nil} = layer, %Array{type: type} = x) do
    weight = Matrix.dense(layer.linear)
    change = layer.dropout |> LoRALinear.dropped(x) |> Mlx.matmul(layer.lora_a) |> Mlx.matmul(layer.lora_b)
    y = x |> Mlx.matmul(Mlx.transpose(weight)) |> Mlx.add(change |> Mlx.multiply(layer.scale) |> Mlx.as_type(type))
    y = layer |> factor(weight) |> Mlx.as_type(type) |> Mlx.multiply(y)
    if layer.linear.bias, do: Mlx.add(y, layer.linear.bias), else: y
  end

  def call(%__MODULE__{linear: %{bias: bias} = linear} = layer, %Array{type: type} = x) do
    change = x |> Mlx.matmul(layer.lora_a) |> Mlx.matmul(layer.lora_b) |> Mlx.multiply(layer.scale)
    y = %{linear | bias: nil} |> NN.Layer.call(x) |> Mlx.add(Mlx.as_type(change, type))
    y = Mlx.multiply(Mlx.as_type(layer.factor, type), y)
    if bias, do: Mlx.add(y, bias), else: y
  end

  defp factor(layer, weight) do
    change = layer.lora_a |> Mlx.matmul(layer.lora_b) |> Mlx.transpose() |> Mlx.multiply(layer.scale)
    Mlx.divide(layer.m, Mlx.stop_gradient(Matrix.lengths(Mlx.add(weight, change))))
  end

  @doc "The layer with its factor, which is then not computed in each call."
  @spec fixed(t()) :: t()
  def fixed(%__MODULE__{} = layer), do: %{layer | factor: factor(layer, Matrix.dense(layer.linear))}
end
