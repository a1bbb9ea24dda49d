if Code.ensure_loaded?(Nx) do
  defmodule Mlx.Nx.Quantization do
    @moduledoc false
    # How tensors in quantized form are made, of others and of their arrays. Arguments are checked here.

    alias Mlx.{Array, Backend, Type}
    alias Mlx.Arguments.{Given, Options}
    alias Mlx.Nx.Backend.{Conversion, Manner, Quantized}
    alias Nx.Defn.Expr
    alias Nx.{Shape, Tensor}

    # The group size and bits that MLX takes where none are given.
    @defaults %{affine: {64, 4}, mxfp4: {32, 4}, mxfp8: {32, 8}, nvfp4: {16, 4}}

    @spec quantize(Tensor.t(), keyword()) :: Tensor.t()
    def quantize(%Tensor{data: %Expr{}}, _options) do
      raise ArgumentError,
            "Mlx.Nx.quantize: a tensor has no numbers inside of a definition; quantize it before, and give it as an argument"
    end

    def quantize(%Tensor{vectorized_axes: vectorized} = tensor, options) do
      defaults = [mode: :affine, group_size: nil, bits: nil, axis: -1]
      [mode, group_size, bits, axis] = Options.without_stream(options, :"Nx.quantize", defaults)
      {group_size, bits} = layout!(:quantize, mode, group_size, bits)
      if not Quantized.type?(tensor.type), do: raise(ArgumentError, no_type(:quantize, tensor.type))
      axis = Shape.normalize_axis(tensor.shape, axis, tensor.names)
      check_shape!(tensor, axis, group_size)
      manner = Manner.of(tensor)

      Manner.run(manner, fn ->
        own = [mode: mode, group_size: group_size, bits: bits]
        quantized = tensor |> Conversion.array() |> Quantized.quantize(length(vectorized) + axis, own)
        Conversion.result(tensor, quantized, manner)
      end)
    end

    @spec dequantize(Tensor.t()) :: Tensor.t()
    def dequantize(%Tensor{data: %Backend{array: %Quantized{} = quantized}} = tensor) do
      manner = Manner.of(tensor)
      Manner.run(manner, fn -> Conversion.result(tensor, Quantized.dequantize(quantized), manner) end)
    end

    def dequantize(%Tensor{} = tensor), do: tensor

    @spec quantized?(Tensor.t()) :: boolean()
    def quantized?(%Tensor{data: data}), do: match?(%Backend{array: %Quantized{}}, data)

    @spec from_arrays(tuple(), keyword()) :: Tensor.t()
    def from_arrays(arrays, options) do
      defaults = [mode: :affine, group_size: nil, bits: nil, axis: -1, names: nil, type: nil]

      [mode, group_size, bits, axis, names, type] =
        Options.without_stream(options, :"Nx.from_quantized", defaults)

      {group_size, bits} = layout!(:from_quantized, mode, group_size, bits)
      size = packed_size!(arrays, mode, group_size, bits)
      [weights, scales | _] = arrays = Tuple.to_list(arrays)
      axis = Shape.normalize_axis(weights.shape, axis, names)
      type = Type.normalize!(type || if(mode == :affine, do: scales.type, else: :bf16), :"Nx.from_quantized")
      if not Quantized.type?(Type.to_nx(type)), do: raise(ArgumentError, no_type(:from_quantized, Type.to_nx(type)))
      quantized = Quantized.pack(arrays, axis, size, type, mode)

      Conversion.result(
        Nx.template(Quantized.shape(quantized), Type.to_nx(type), names: names),
        quantized,
        Manner.from([])
      )
    end

    @spec to_arrays(Tensor.t()) :: tuple()
    def to_arrays(%Tensor{data: %Backend{array: %Quantized{arrays: arrays}}}), do: List.to_tuple(arrays)

    def to_arrays(%Tensor{} = tensor) do
      raise ArgumentError,
            "Mlx.Nx.to_quantized: this tensor of #{Nx.Type.to_string(tensor.type)} is not quantized; Mlx.Nx.quantize/2 makes " <>
              "one that is"
    end

    defp layout!(function, mode, group_size, bits) do
      case @defaults do
        %{^mode => {usual_size, usual_bits}} ->
          {group_size || usual_size, bits || usual_bits}

        %{} ->
          raise ArgumentError,
                "Mlx.Nx.#{function}: expected :mode to be one of #{inspect(Map.keys(@defaults))}, got: #{inspect(mode)}"
      end
    end

    defp no_type(function, type) do
      "Mlx.Nx.#{function}: expected numbers of f16, bf16 or f32, got #{Nx.Type.to_string(type)}; Nx.as_type/2 converts them"
    end

    defp check_shape!(%Tensor{shape: shape, vectorized_axes: vectorized}, axis, group_size) do
      if tuple_size(shape) + length(vectorized) < 2 do
        raise ArgumentError, "Mlx.Nx.quantize: expected a tensor of at least two axes, got the shape #{inspect(shape)}"
      end

      if not is_integer(group_size) or group_size < 1 or rem(elem(shape, axis), group_size) != 0 do
        raise ArgumentError,
              "Mlx.Nx.quantize: axis #{axis} of the shape #{inspect(shape)} does not divide into groups of " <>
                "#{inspect(group_size)}; the options :axis and :group_size take others"
      end
    end

    # How many numbers lie along the packed axis.
    defp packed_size!(arrays, mode, group_size, bits) do
      case arrays do
        {%Array{type: :u32, shape: weights}, %Array{shape: scales, type: type}, %Array{shape: scales, type: type}}
        when mode == :affine ->
          size!(weights, scales, group_size, bits) || mismatch!(arrays, mode, group_size, bits)

        {%Array{type: :u32, shape: weights}, %Array{shape: scales, type: :u8}} when mode != :affine ->
          size!(weights, scales, group_size, bits) || mismatch!(arrays, mode, group_size, bits)

        _other ->
          mismatch!(arrays, mode, group_size, bits)
      end
    end

    defp size!(weights, scales, group_size, bits) do
      last = tuple_size(weights) - 1

      if last >= 1 and tuple_size(scales) == last + 1 and
           Tuple.delete_at(weights, last) == Tuple.delete_at(scales, last) and
           elem(weights, last) * 32 == elem(scales, last) * group_size * bits,
         do: elem(scales, last) * group_size
    end

    defp mismatch!(arrays, mode, group_size, bits) do
      raise ArgumentError,
            "Mlx.Nx.from_quantized: expected the arrays that Mlx.quantize/2 gives in the mode #{inspect(mode)} with " <>
              "#{inspect(bits)} bits and groups of #{inspect(group_size)}, got: #{Given.text(arrays)}"
    end
  end
end
