defmodule Mlx.NN.TransformerEncoder do
  @moduledoc """
  The encoder of a transformer: layers of attention, and a normalisation after them.

  | layer | |
  | --- | --- |
  | `layers` | a list of `Mlx.NN.TransformerEncoderLayer` |
  | `ln` | `Mlx.NN.LayerNorm` |

  Source: Vaswani et al., "Attention Is All You Need" (2017). Python: `mlx.nn.TransformerEncoder`.
  """

  use Mlx.Arguments.Mismatch

  alias Mlx.Array
  alias Mlx.Arguments.Options
  alias Mlx.NN.{LayerNorm, TransformerEncoderLayer, TransformerLayers, TransformerOptions}

  @derive Mlx.NN.Layer
  @enforce_keys [:layers, :ln, :checkpoint]
  defstruct @enforce_keys

  @type t :: %__MODULE__{layers: [TransformerEncoderLayer.t()], ln: LayerNorm.t(), checkpoint: boolean()}

  @doc """
  An encoder of so many layers, for inputs of `dims` features, with so many heads.

  Options:

    * `:mlp_dims`, `:dropout`, `:activation`, `:norm_first` - those of `Mlx.NN.TransformerEncoderLayer.new/3`
    * `:checkpoint` - whether what a layer computes is computed again for the gradient, see `Mlx.checkpoint/1`; default
      false

  Examples:

      iex> length(Mlx.NN.TransformerEncoder.new(2, 8, 2).layers)
      2

  Python: `mlx.nn.TransformerEncoder`.
  """
  @spec new(non_neg_integer(), pos_integer(), pos_integer(), keyword()) :: t()
  def new(num_layers, dims, num_heads, options \\ [])

  def new(num_layers, dims, num_heads, options)
      when is_integer(num_layers) and num_layers >= 0 and is_integer(dims) and dims > 0 and is_integer(num_heads) and
             num_heads > 0 do
    {of_layers, [checkpoint: checkpoint]} = TransformerOptions.split(options, "TransformerEncoder", checkpoint: false)

    layers = for _ <- 1..num_layers//1, do: TransformerEncoderLayer.new(dims, num_heads, of_layers)
    %__MODULE__{layers: layers, ln: LayerNorm.new(dims), checkpoint: checkpoint}
  end

  @doc """
  The outputs for an array `{batch, length, dims}`, of the same shape.

  Options:

    * `:mask` - as for `Mlx.NN.MultiHeadAttention.call/5`, default `nil`

  Examples:

      iex> model = Mlx.NN.TransformerEncoder.new(2, 8, 2)
      iex> Mlx.NN.TransformerEncoder.call(model, Mlx.ones({1, 5, 8}), mask: :causal).shape
      {1, 5, 8}

  Python: `TransformerEncoder.__call__`.
  """
  @spec call(t(), Array.t(), keyword()) :: Array.t()
  def call(model, x, options \\ [])

  def call(%__MODULE__{} = model, %Array{} = x, options) do
    [mask] = Options.without_stream(options, :"NN.TransformerEncoder.call", mask: nil)

    TransformerLayers.call(model, x, mask, fn layer, x, mask -> TransformerEncoderLayer.call(layer, x, mask: mask) end)
  end
end
