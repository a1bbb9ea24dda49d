defmodule Mlx.LM.Quantization.Unpacked do
  @moduledoc false
  # A quantized layer with its codes as bytes, which makes its whole matrix anew for each call. On a CPU, that and a product of
  # whole matrices are far faster than MLX's product with a packed one, and have the same gradients.

  alias Mlx.{Array, NN}
  alias Mlx.LM.Decoder.{QuantizedSwitchLinear, SwitchFeedForward, SwitchLinear}
  alias Mlx.LM.Quantization.Codes
  alias Mlx.NN.{Embedding, Linear, QuantizedEmbedding, QuantizedLinear}

  @kinds %{QuantizedLinear => Linear, QuantizedEmbedding => Embedding, QuantizedSwitchLinear => SwitchLinear}

  @derive NN.Layer
  @enforce_keys [:kind, :codes, :scales, :biases, :bias]
  defstruct @enforce_keys

  @type t :: %__MODULE__{}

  @doc "The container with such layers. Stacks of matrices that are no experts are called in other ways, and stay."
  @spec all(container) :: container when container: term()
  def all(container) do
    NN.map_layers(container, fn
      _path, %kind{} = layer when kind in [QuantizedLinear, QuantizedEmbedding] -> of(layer)
      _path, %SwitchFeedForward{} = experts -> SwitchFeedForward.map(experts, fn _name, stack -> of(stack) end)
      _path, layer -> layer
    end)
  end

  @doc "The layer for one that is quantized in the affine mode; others stay as they are."
  @spec of(struct()) :: struct()
  def of(%kind{mode: :affine} = layer) when is_map_key(@kinds, kind) do
    %{scales: %Array{shape: shape}} = layer
    codes = layer.weight |> Codes.unpacked(layer.bits) |> Mlx.as_type(:u8)

    %__MODULE__{
      kind: @kinds[kind],
      codes: Mlx.reshape(codes, Tuple.insert_at(shape, tuple_size(shape), layer.group_size)),
      scales: layer.scales,
      biases: layer.biases,
      bias: Map.get(layer, :bias)
    }
  end

  def of(layer), do: layer

  @spec call(t(), Array.t()) :: Array.t()
  def call(%__MODULE__{} = layer, x), do: NN.Layer.call(whole(layer), x)

  @spec call(t(), Array.t(), Array.t(), boolean()) :: Array.t()
  def call(%__MODULE__{} = layer, x, experts, sorted), do: SwitchLinear.call(whole(layer), x, experts, sorted)

  @spec as_linear(t(), Array.t()) :: Array.t()
  def as_linear(%__MODULE__{} = layer, x), do: Embedding.as_linear(whole(layer), x)

  defp whole(%__MODULE__{kind: kind, scales: %Array{shape: shape, type: type} = scales} = layer) do
    size = layer.codes.shape |> Tuple.to_list() |> List.last()
    last = tuple_size(shape) - 1

    weight =
      layer.codes
      |> Mlx.as_type(type)
      |> Codes.numbers({Mlx.new_axis(scales, -1), Mlx.new_axis(layer.biases, -1)})
      |> Mlx.reshape(put_elem(shape, last, elem(shape, last) * size))

    if kind == Embedding, do: %Embedding{weight: weight}, else: struct!(kind, weight: weight, bias: layer.bias)
  end
end
