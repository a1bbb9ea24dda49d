defmodule Mlx.LM.Decoder.DoRAEmbedding do
  @moduledoc """
  An embedding with a change of low rank and a length for the row of each token: the row is
  `m[token] / |row| * row`, where `row = embedding(token) + scale * lora_a[token] @ lora_b`.

  | array | shape |
  | --- | --- |
  | `lora_a` | `{tokens, rank}` |
  | `lora_b` | `{rank, width}` |
  | `m` | `{tokens}` |

  The lengths have no gradient. `dropout` is nil, or an `Mlx.NN.Dropout` for training. Python: `DoRAEmbedding` of
  `mlx_lm.tuner.dora`.
  """

  alias Mlx.{Array, NN}
  alias Mlx.LM.Decoder.{LoRALinear, Matrix}

  @derive NN.Layer
  @enforce_keys [:embedding, :lora_a, :lora_b, :m, :scale]
  defstruct @enforce_keys ++ [dropout: nil]

  @type t :: %__MODULE__{
          embedding: struct(),
          lora_a: Array.t(),
          lora_b: Array.t(),
          m: Array.t(),
          scale: float(),
          dropout: NN.Dropout.t() | nil
        }

  @doc "The rows `{..., width}` of tokens, `{...}`."
  @spec call(t(), Array.t()) :: Array.t()
  def call(%__MODULE__{} = layer, %Array{} = tokens) do
    %Array{type: type} = rows = NN.Layer.call(layer.embedding, tokens)
    change = layer.lora_a |> Mlx.take(tokens, axis: 0) |> Mlx.multiply(layer.scale) |> Mlx.matmul(layer.lora_b)
    changed = Mlx.add(rows, layer.dropout |> LoRALinear.dropped(change) |> Mlx.as_type(type))
    lengths = Mlx.stop_gradient(Matrix.lengths(Mlx.add(rows, change)))
    factor = layer.m |> Mlx.take(tokens, axis: 0) |> Mlx.divide(lengths) |> Mlx.new_axis(-1)
    Mlx.multiply(Mlx.as_type(factor, type), changed)
  end

  @doc "The products `{..., tokens}` of `x`, `{..., width}`, with the rows of all tokens."
  @spec as_linear(t(), Array.t()) :: Array.t()
  def as_linear(%__MODULE__{embedding: %module{} = embedding} = layer, %Array{type: type} = x) do
    change = layer.dropout |> LoRALinear.dropped(x) |> Mlx.matmul(Mlx.transpose(layer.lora_b))
    change = change |> Mlx.matmul(Mlx.transpose(layer.lora_a)) |> Mlx.multiply(layer.scale) |> Mlx.as_type(type)
    changed = Mlx.add(Matrix.dense(embedding), layer.lora_a |> Mlx.multiply(layer.scale) |> Mlx.matmul(layer.lora_b))
    factor = layer.m |> Mlx.divide(Mlx.stop_gradient(Matrix.lengths(changed))) |> Mlx.as_type(type)
    embedding |> module.as_linear(x) |> Mlx.add(change) |> Mlx.multiply(factor)
  end
end
