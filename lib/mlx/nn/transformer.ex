defmodule Mlx.NN.Transformer do
  @moduledoc """
  A whole transformer: an encoder of a source, and a decoder of a target that attends to what the encoder gives. There are
  no embeddings and there is no last linear layer.

  | layer | |
  | --- | --- |
  | `encoder` | `Mlx.NN.TransformerEncoder`, or a layer of your own |
  | `decoder` | `Mlx.NN.TransformerDecoder`, or a layer of your own |

  Source: Vaswani et al., "Attention Is All You Need" (2017). Python: `mlx.nn.Transformer`.
  """

  use Mlx.Arguments.Mismatch

  alias Mlx.Array
  alias Mlx.Arguments.Options
  alias Mlx.NN.{Layer, TransformerDecoder, TransformerEncoder, TransformerOptions}

  @derive Layer
  @enforce_keys [:encoder, :decoder]
  defstruct @enforce_keys

  @type t :: %__MODULE__{encoder: Layer.t(), decoder: Layer.t()}

  @doc """
  A transformer.

  Options:

    * `:dims` - the features of source and target, default 512
    * `:num_heads` - default 8
    * `:num_encoder_layers`, `:num_decoder_layers` - default 6
    * `:mlp_dims`, `:dropout`, `:activation`, `:norm_first`, `:checkpoint` - those of `Mlx.NN.TransformerEncoder.new/4`
    * `:custom_encoder` - a layer in place of the encoder, which is called with `{source, source_mask}`
    * `:custom_decoder` - a layer in place of the decoder, which is called with
      `{target, memory, target_mask, memory_mask}`

  Examples:

      iex> model = Mlx.NN.Transformer.new(dims: 8, num_heads: 2, num_encoder_layers: 1, num_decoder_layers: 2)
      iex> {length(model.encoder.layers), length(model.decoder.layers)}
      {1, 2}

  Python: `mlx.nn.Transformer`.
  """
  @spec new(keyword()) :: t()
  def new(options \\ []) do
    own = [
      dims: 512,
      num_heads: 8,
      num_encoder_layers: 6,
      num_decoder_layers: 6,
      custom_encoder: nil,
      custom_decoder: nil,
      checkpoint: false
    ]

    {of_layers, own} = TransformerOptions.split(options, "Transformer", own)
    of_layers = [checkpoint: own[:checkpoint]] ++ of_layers
    {dims, heads} = {own[:dims], own[:num_heads]}

    %__MODULE__{
      encoder: own[:custom_encoder] || TransformerEncoder.new(own[:num_encoder_layers], dims, heads, of_layers),
      decoder: own[:custom_decoder] || TransformerDecoder.new(own[:num_decoder_layers], dims, heads, of_layers)
    }
  end

  @doc """
  `call/4` for a tuple `{source, target}`, without masks.

      iex> model = Mlx.NN.Transformer.new(dims: 8, num_heads: 2, num_encoder_layers: 1, num_decoder_layers: 1)
      iex> Mlx.NN.Transformer.call(model, {Mlx.ones({1, 3, 8}), Mlx.ones({1, 5, 8})}).shape
      {1, 5, 8}

  Python: `Transformer.__call__`.
  """
  @spec call(t(), {Array.t(), Array.t()}) :: Array.t()
  def call(%__MODULE__{} = model, {%Array{} = source, %Array{} = target}), do: call(model, source, target, [])

  @doc """
  The outputs `{batch, target_length, dims}` for a source `{batch, source_length, dims}` and a target
  `{batch, target_length, dims}`.

  Options:

    * `:source_mask`, `:target_mask`, `:memory_mask` - of the attention of the source to itself, of the target to itself, and
      of the target to the encoded source, as for `Mlx.NN.MultiHeadAttention.call/5`; default `nil`

  Examples:

      iex> model = Mlx.NN.Transformer.new(dims: 8, num_heads: 2, num_encoder_layers: 1, num_decoder_layers: 1)
      iex> Mlx.NN.Transformer.call(model, Mlx.ones({1, 3, 8}), Mlx.ones({1, 5, 8}), target_mask: :causal).shape
      {1, 5, 8}

  Python: `Transformer.__call__`.
  """
  @spec call(t(), Array.t(), Array.t(), keyword()) :: Array.t()
  def call(%__MODULE__{} = model, %Array{} = source, %Array{} = target, options) do
    masks = [source_mask: nil, target_mask: nil, memory_mask: nil]
    [source_mask, target_mask, memory_mask] = Options.without_stream(options, :"NN.Transformer.call", masks)
    memory = encode(model.encoder, source, source_mask)
    decode(model.decoder, target, memory, target_mask, memory_mask)
  end

  defp encode(%TransformerEncoder{} = encoder, source, mask), do: TransformerEncoder.call(encoder, source, mask: mask)
  defp encode(custom, source, mask), do: Layer.call(custom, {source, mask})

  defp decode(%TransformerDecoder{} = decoder, target, memory, mask, memory_mask) do
    TransformerDecoder.call(decoder, target, memory, mask: mask, memory_mask: memory_mask)
  end

  defp decode(custom, target, memory, mask, memory_mask) do
    Layer.call(custom, {target, memory, mask, memory_mask})
  end
end
