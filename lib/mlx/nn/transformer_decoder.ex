defmodule Mlx.NN.TransformerDecoder do
  @moduledoc """
  The decoder of a transformer: layers of attention to the input and to the output of an encoder, and a normalisation after
  them.

  | layer | |
  | --- | --- |
  | `layers` | a list of `Mlx.NN.TransformerDecoderLayer` |
  | `ln` | `Mlx.NN.LayerNorm` |

  Source: Vaswani et al., "Attention Is All You Need" (2017). Python: `mlx.nn.TransformerDecoder`.
  """

  use Mlx.Arguments.Mismatch

  alias Mlx.Array
  alias Mlx.Arguments.Options
  alias Mlx.NN.{LayerNorm, TransformerDecoderLayer, TransformerLayers, TransformerOptions}

  @derive Mlx.NN.Layer
  @enforce_keys [:layers, :ln, :checkpoint]
  defstruct @enforce_keys

  @type t :: %__MODULE__{layers: [TransformerDecoderLayer.t()], ln: LayerNorm.t(), checkpoint: boolean()}

  @doc """
  A decoder of so many layers, for inputs of `dims` features, with so many heads.

  Options:

    * `:mlp_dims`, `:dropout`, `:activation`, `:norm_first` - those of `Mlx.NN.TransformerDecoderLayer.new/3`
    * `:checkpoint` - whether what a layer computes is computed again for the gradient, see `Mlx.checkpoint/1`; default
      false

  Examples:

      iex> length(Mlx.NN.TransformerDecoder.new(2, 8, 2).layers)
      2

  Python: `mlx.nn.TransformerDecoder`.
  """
  @spec new(non_neg_integer(), pos_integer(), pos_integer(), keyword()) :: t()
  def new(num_layers, dims, num_heads, options \\ [])

  def new(num_layers, dims, num_heads, options)
      when is_integer(num_layers) and num_layers >= 0 and is_integer(dims) and dims > 0 and is_integer(num_heads) and
             num_heads > 0 do
    {of_layers, [checkpoint: checkpoint]} = TransformerOptions.split(options, "TransformerDecoder", checkpoint: false)

    layers = for _ <- 1..num_layers//1, do: TransformerDecoderLayer.new(dims, num_heads, of_layers)
    %__MODULE__{layers: layers, ln: LayerNorm.new(dims), checkpoint: checkpoint}
  end

  @doc """
  `call/4` for a tuple `{x, memory}`, without masks.

      iex> model = Mlx.NN.TransformerDecoder.new(2, 8, 2)
      iex> Mlx.NN.TransformerDecoder.call(model, {Mlx.ones({1, 5, 8}), Mlx.ones({1, 3, 8})}).shape
      {1, 5, 8}

  Python: `TransformerDecoder.__call__`.
  """
  @spec call(t(), {Array.t(), Array.t()}) :: Array.t()
  def call(%__MODULE__{} = model, {%Array{} = x, %Array{} = memory}), do: call(model, x, memory, [])

  @doc """
  The outputs for an array `{batch, length, dims}`, of the same shape, and the output of the encoder, `memory`,
  `{batch, memory_length, dims}`.

  Options:

    * `:mask`, `:memory_mask` - of the attention to `x` and to the memory, as for `Mlx.NN.MultiHeadAttention.call/5`,
      default `nil`

  Examples:

      iex> model = Mlx.NN.TransformerDecoder.new(2, 8, 2)
      iex> Mlx.NN.TransformerDecoder.call(model, Mlx.ones({1, 5, 8}), Mlx.ones({1, 3, 8}), mask: :causal).shape
      {1, 5, 8}

  Python: `TransformerDecoder.__call__`.
  """
  @spec call(t(), Array.t(), Array.t(), keyword()) :: Array.t()
  def call(%__MODULE__{} = model, %Array{} = x, %Array{} = memory, options) do
    [mask, memory_mask] = Options.without_stream(options, :"NN.TransformerDecoder.call", mask: nil, memory_mask: nil)

    inputs = {memory, mask, memory_mask}

    TransformerLayers.call(model, x, inputs, fn layer, x, {memory, mask, memory_mask} ->
      TransformerDecoderLayer.call(layer, x, memory, mask: mask, memory_mask: memory_mask)
    end)
  end
end
