if Code.ensure_loaded?(Nx) do
  defmodule Mlx.Nx.Backend.Quantized do
    @moduledoc false
    # What a quantized tensor holds in the place of an array: packed weights, their scales, and biases in the mode that has
    # them. They lie as MLX wants them, with the axis that is packed last. Whatever has no operation for them takes the
    # numbers that they stand for.

    alias Mlx.{Array, Native, Type}

    # `axis`: where the packed axis is in the tensor. `source`: the type of the numbers that were packed, and `type` that
    # which they are rounded to.
    @enforce_keys [:arrays, :axis, :source, :type, :mode, :group_size, :bits]
    defstruct @enforce_keys

    @type t :: %__MODULE__{
            arrays: [Array.t()],
            axis: non_neg_integer(),
            source: Type.t(),
            type: Type.t(),
            mode: atom(),
            group_size: pos_integer(),
            bits: pos_integer()
          }

    @types [{:f, 16}, {:bf, 16}, {:f, 32}]

    @typedoc "A quantized tensor with the shapes and types of its arrays in place of them."
    @type form :: %__MODULE__{arrays: [{tuple(), Type.t()}]}

    @doc "Whether tensors of the type can be quantized, and multiplied by quantized ones."
    @spec type?(Nx.Type.t()) :: boolean()
    def type?(type), do: type in @types

    @doc "The array, quantized along an axis. The options are those of `Mlx.quantize/2`."
    @spec quantize(Array.t(), non_neg_integer(), keyword()) :: t()
    def quantize(%Array{shape: shape, type: type} = array, axis, options) do
      arrays = array |> Native.moveaxis(axis, -1, nil) |> Mlx.quantize(options) |> Tuple.to_list()
      pack(arrays, axis, elem(shape, axis), type, Keyword.get(options, :mode, :affine))
    end

    @doc "Arrays of `Mlx.quantize/2` as one tensor, whose axis of the size is the packed one."
    @spec pack([Array.t()], non_neg_integer(), pos_integer(), Type.t(), atom()) :: t()
    def pack([weights, scales | _] = arrays, axis, size, type, mode) do
      %__MODULE__{
        arrays: arrays,
        axis: axis,
        source: type,
        type: type,
        mode: mode,
        group_size: div(size, last(scales)),
        bits: div(last(weights) * 32, size)
      }
    end

    @doc "The numbers, as an array of the shape that was quantized."
    @spec dequantize(t()) :: Array.t()
    def dequantize(%__MODULE__{arrays: [weights, scales | biases], axis: axis, source: source, type: type} = quantized) do
      numbers = Mlx.dequantize(weights, scales, List.first(biases), [type: source] ++ options(quantized))
      numbers = if type == source, do: numbers, else: Native.astype(numbers, type, nil)
      Native.moveaxis(numbers, -1, axis, nil)
    end

    @doc "The shape of the numbers."
    @spec shape(t()) :: tuple()
    def shape(%__MODULE__{arrays: [_weights, scales | _], axis: axis, group_size: group_size}) do
      %Array{shape: groups} = scales
      groups |> Tuple.delete_at(tuple_size(groups) - 1) |> Tuple.insert_at(axis, last(scales) * group_size)
    end

    @doc "The same with its axes in another order, in which the packed one is the last."
    @spec ordered(t(), [non_neg_integer()]) :: t()
    def ordered(%__MODULE__{axis: axis} = quantized, axes) do
      last = length(axes) - 1
      places = for place <- axes, do: if(place == axis, do: last, else: place - if(place > axis, do: 1, else: 0))
      %{map(quantized, &Mlx.Nx.Backend.Shape.ordered(&1, places)) | axis: last}
    end

    @doc "The options that `Mlx.dequantize/4` and `Mlx.quantized_matmul/5` take of it."
    @spec options(t()) :: keyword()
    def options(%__MODULE__{mode: mode, group_size: group_size, bits: bits}),
      do: [mode: mode, group_size: group_size, bits: bits]

    @doc "The quantized tensor with a function applied to each of its arrays."
    @spec map(t(), (Array.t() -> Array.t())) :: t()
    def map(%__MODULE__{arrays: arrays} = quantized, fun), do: %{quantized | arrays: Enum.map(arrays, fun)}

    @doc "What a program is recorded for."
    @spec form(t()) :: form()
    def form(quantized), do: map(quantized, fn %Array{shape: shape, type: type} -> {shape, type} end)

    defp last(%Array{shape: shape}), do: elem(shape, tuple_size(shape) - 1)
  end
end
