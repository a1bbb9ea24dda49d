defmodule Mlx.LM.Decoder.LoRAEmbedding do
  @moduledoc """
  An embedding with a change of low rank: the row of a token is `embedding(token) + scale * lora_a[token] @ lora_b`.

  | array | shape |
  | --- | --- |
  | `lora_a` | `{tokens, rank}` |
  | `lora_b` | `{rank, width}` |

  `output` says whether the change counts also where the embedding is the output matrix: it does in mlx-lm, and does not in
  PEFT. `dropout` is nil, or an `Mlx.NN.Dropout` for training. Python: `LoRAEmbedding` of `mlx_lm.tuner.lora`.
  """

  alias Mlx.{Array, NN}
  alias Mlx.LM.Decoder.LoRALinear

  @derive NN.Layer
  @enforce_keys [:embedding, :lora_a, :lora_b, :scale, :output]
  defstruct @enforce_keys ++ [dropout: nil]

  @type t :: %__MODULE__{
          embedding: struct(),
          lora_a: Array.t(),
          lora_b: Array.t(),
          scale: float(),
          output: boolean(),
          dropout: NN.Dropout.t() | nil
        }

  @doc "The rows `{..., width}` of tokens, `{...}`."
  @spec call(t(), Array.t()) :: Array.t()
  def call(%__MODULE__{} = layer, %Array{} = tokens) do
    %Array{type: type} = rows = NN.Layer.call(layer.embedding, tokens)
    change = layer.lora_a |> Mlx.take(tokens, axis: 0) |> Mlx.matmul(layer.lora_b)
    Mlx.add(rows, layer.dropout |> LoRALinear.dropped(change) |> Mlx.multiply(layer.scale) |> Mlx.as_type(type))
  end

  @doc "The products `{..., tokens}` of `x`, `{..., width}`, with the rows of all tokens."
  @spec as_linear(t(), Array.t()) :: Array.t()
  def as_linear(%__MODULE__{embedding: %module{} = embedding} = layer, %Array{type: type} = x) do
    y = module.as_linear(embedding, x)

    if layer.output do
      x = LoRALinear.dropped(layer.dropout, x)
      change = x |> Mlx.matmul(Mlx.transpose(layer.lora_b)) |> Mlx.matmul(Mlx.transpose(layer.lora_a))
      Mlx.add(y, change |> Mlx.multiply(layer.scale) |> Mlx.as_type(type))
    else
      y
    end
  end
end
