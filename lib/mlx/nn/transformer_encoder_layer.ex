defmodule Mlx.NN.TransformerEncoderLayer do
  @moduledoc """
  A layer of a transformer's encoder: attention of the input to itself, then two linear layers. What each of the two gives
  is added to its input.

  | layer | |
  | --- | --- |
  | `attention` | `Mlx.NN.MultiHeadAttention` |
  | `ln1`, `ln2` | `Mlx.NN.LayerNorm` |
  | `linear1`, `linear2` | `Mlx.NN.Linear` |
  | `dropout1`, `dropout2` | `Mlx.NN.Dropout` |

  Source: Vaswani et al., "Attention Is All You Need" (2017). Python: `mlx.nn.TransformerEncoderLayer`.
  """

  use Mlx.Arguments.Mismatch

  import Mlx.NN, only: [forward: 2]

  alias Mlx.Array
  alias Mlx.Arguments.Options
  alias Mlx.NN.{Dropout, LayerNorm, Linear, MultiHeadAttention, Residual, TransformerOptions}

  @derive Mlx.NN.Layer
  @enforce_keys [:attention, :ln1, :ln2, :linear1, :linear2, :dropout1, :dropout2, :activation, :norm_first]
  defstruct @enforce_keys

  @type t :: %__MODULE__{
          attention: MultiHeadAttention.t(),
          ln1: LayerNorm.t(),
          ln2: LayerNorm.t(),
          linear1: Linear.t(),
          linear2: Linear.t(),
          dropout1: Dropout.t(),
          dropout2: Dropout.t(),
          activation: (Array.t() -> Array.t()),
          norm_first: boolean()
        }

  @doc """
  A layer for inputs of `dims` features, with so many heads.

  Options:

    * `:mlp_dims` - the features between the two linear layers, default `4 * dims`
    * `:dropout` - the probability of dropout, default 0.0
    * `:activation` - a function of an array, default `&Mlx.NN.Activations.relu/1`
    * `:norm_first` - whether the inputs of attention and linear layers are normalised (default true), or the sums

  Examples:

      iex> Mlx.NN.TransformerEncoderLayer.new(8, 2, mlp_dims: 16).linear1
      #Mlx.NN.Linear<weight: f32[16][8], bias: f32[16]>

  Python: `mlx.nn.TransformerEncoderLayer`.
  """
  @spec new(pos_integer(), pos_integer(), keyword()) :: t()
  def new(dims, num_heads, options \\ [])

  def new(dims, num_heads, options)
      when is_integer(dims) and dims > 0 and is_integer(num_heads) and num_heads > 0 do
    options = TransformerOptions.of_layer(options, "TransformerEncoderLayer")
    mlp_dims = options.mlp_dims || 4 * dims

    %__MODULE__{
      attention: MultiHeadAttention.new(dims, num_heads),
      ln1: LayerNorm.new(dims),
      ln2: LayerNorm.new(dims),
      linear1: Linear.new(dims, mlp_dims),
      linear2: Linear.new(mlp_dims, dims),
      dropout1: Dropout.new(p: options.dropout),
      dropout2: Dropout.new(p: options.dropout),
      activation: options.activation,
      norm_first: options.norm_first
    }
  end

  @doc """
  The outputs for an array `{batch, length, dims}`, of the same shape.

  Options:

    * `:mask` - as for `Mlx.NN.MultiHeadAttention.call/5`, default `nil`

  Examples:

      iex> layer = Mlx.NN.TransformerEncoderLayer.new(8, 2)
      iex> Mlx.NN.TransformerEncoderLayer.call(layer, Mlx.ones({1, 5, 8}), mask: :causal).shape
      {1, 5, 8}

  Python: `TransformerEncoderLayer.__call__`.
  """
  @spec call(t(), Array.t(), keyword()) :: Array.t()
  def call(layer, x, options \\ [])

  def call(%__MODULE__{norm_first: norm_first} = layer, %Array{} = x, options) do
    [mask] = Options.without_stream(options, :"NN.TransformerEncoderLayer.call", mask: nil)
    attend = &(layer.attention |> MultiHeadAttention.call(&1, &1, &1, mask: mask) |> forward(layer.dropout1))

    x
    |> Residual.add(layer.ln1, norm_first, attend)
    |> Residual.add(layer.ln2, norm_first, Residual.perceptron(layer, layer.dropout2))
  end
end
