defmodule Mlx.LM.Decoder.LoRASwitchLinear do
  @moduledoc """
  The linear layers of several experts, each with its change of low rank.

  | array | shape |
  | --- | --- |
  | `lora_a` | `{experts, rank, inputs}` |
  | `lora_b` | `{experts, outputs, rank}` |

  `dropout` is nil, or an `Mlx.NN.Dropout` for training. Python: `LoRASwitchLinear` of `mlx_lm.tuner.lora`.
  """

  alias Mlx.{Array, NN}
  alias Mlx.LM.Decoder.LoRALinear

  @enforce_keys [:linear, :lora_a, :lora_b, :scale]
  defstruct @enforce_keys ++ [dropout: nil]

  @type t :: %__MODULE__{
          linear: struct(),
          lora_a: Array.t(),
          lora_b: Array.t(),
          scale: float(),
          dropout: NN.Dropout.t() | nil
        }

  @doc "The outputs, as `Mlx.LM.Decoder.SwitchLinear.call/4` gives them."
  @spec call(t(), Array.t(), Array.t(), boolean()) :: Array.t()
  def call(%__MODULE__{linear: %kind{} = linear} = layer, %Array{type: type} = x, experts, sorted) do
    options = [right_indices: experts, sorted: sorted]

    change =
      layer.dropout
      |> LoRALinear.dropped(x)
      |> Mlx.gather_mm(Mlx.matrix_transpose(layer.lora_a), options)
      |> Mlx.gather_mm(Mlx.matrix_transpose(layer.lora_b), options)
      |> Mlx.multiply(layer.scale)

    Mlx.add(kind.call(linear, x, experts, sorted), Mlx.as_type(change, type))
  end
end
