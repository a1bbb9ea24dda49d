defmodule Mlx.LM.Decoder.QuantizedSwitchLinear do
  @moduledoc """
  The linear layers of several experts with quantized weights: as `Mlx.LM.Decoder.SwitchLinear`, with the arrays `weight`,
  `scales` and `biases` of `Mlx.quantize/2` for a weight `{experts, outputs, inputs}`.
  """

  alias Mlx.Array
  alias Mlx.LM.Decoder.SwitchLinear

  @enforce_keys [:weight, :scales, :biases, :bias, :group_size, :bits, :mode]
  @derive {Mlx.NN.Layer, kept: [:weight, :scales, :biases], inspect: false}
  defstruct @enforce_keys

  @type t :: %__MODULE__{
          weight: Array.t(),
          scales: Array.t(),
          biases: Array.t() | nil,
          bias: Array.t() | nil,
          group_size: pos_integer(),
          bits: pos_integer(),
          mode: atom()
        }

  @doc "The outputs, as `Mlx.LM.Decoder.SwitchLinear.call/4` gives them."
  @spec call(t(), Array.t(), Array.t(), boolean()) :: Array.t()
  def call(%__MODULE__{} = layer, x, experts, sorted) do
    options =
      [right_indices: experts, sorted: sorted] ++
        for(key <- [:group_size, :bits, :mode], do: {key, Map.fetch!(layer, key)})

    x
    |> Mlx.gather_qmm(layer.weight, layer.scales, layer.biases, options)
    |> SwitchLinear.biased(layer.bias, experts)
  end
end
