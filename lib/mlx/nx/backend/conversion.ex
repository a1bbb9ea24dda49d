if Code.ensure_loaded?(Nx) do
  defmodule Mlx.Nx.Backend.Conversion do
    @moduledoc false
    # Tensors as arrays, and arrays as tensors.

    import Mlx.Nx.Backend.ForeignTypes, only: [is_narrow: 1]

    alias Mlx.{Array, Backend, Native, Type}
    alias Mlx.Nx.Backend.{ForeignTypes, Manner, Quantized}
    alias Mlx.Values.{Reading, Garbage}
    alias Nx.Tensor

    @doc "The array of a tensor of any backend: of a quantized one, its numbers."
    @spec array(Tensor.t()) :: Array.t()
    def array(tensor) do
      case held(tensor) do
        %Array{} = array -> array
        %Quantized{} = quantized -> Quantized.dequantize(quantized)
      end
    end

    @doc "The array of a tensor of any backend, or the packed form of a quantized tensor."
    @spec held(Tensor.t()) :: Array.t() | Quantized.t()
    def held(%Tensor{data: %Backend{array: held}}), do: held
    def held(%Tensor{type: type, shape: shape} = tensor), do: tensor |> Nx.to_binary() |> read(shape, type)

    @doc "The array of a shape and type whose elements are in a bitstring."
    @spec read(bitstring(), tuple(), Nx.Type.t()) :: Array.t()
    def read(bits, shape, type) do
      bytes = if is_narrow(type), do: ForeignTypes.unpack(bits, type), else: bits
      Native.from_binary(bytes, shape, type(type))
    end

    @doc "The elements of an array that holds numbers of a type."
    @spec write(Array.t(), Nx.Type.t()) :: bitstring()
    def write(array, type) do
      bytes = Reading.to_binary(array)
      if is_narrow(type), do: ForeignTypes.pack(bytes, type), else: bytes
    end

    @doc "The arrays of tensors."
    @spec arrays([Tensor.t()]) :: [Array.t()]
    def arrays(tensors), do: Enum.map(tensors, &array/1)

    @doc "The arrays of those positions that are tensors; integers stay."
    @spec positions([integer() | Tensor.t()]) :: [integer() | Array.t()]
    def positions(positions) do
      for position <- positions, do: if(is_integer(position), do: position, else: array(position))
    end

    @doc "The tensor that an operation returns: of the type of `out`, and handed to the device when its manner says so."
    @spec result(Tensor.t(), Array.t() | Quantized.t(), Manner.t()) :: Tensor.t()
    def result(%Tensor{} = out, %Quantized{arrays: arrays} = quantized, manner),
      do: handed_over(out, quantized, arrays, manner)

    def result(%Tensor{type: type} = out, %Array{} = array, manner) do
      array = cast(array, type(type))
      array = if is_narrow(type), do: ForeignTypes.wrap_around(array, type), else: array
      handed_over(out, array, [array], manner)
    end

    defp handed_over(out, held, arrays, manner) do
      manner = Manner.of_result(manner, held)
      if match?({false, _device, 0}, manner), do: start(arrays)
      wrap(out, held, manner)
    end

    defp start(arrays), do: :ok = Garbage.watch(fn -> Native.async_eval(arrays) end)

    @doc "A tensor of an array, which is not handed to the device."
    @spec wrap(Tensor.t(), Array.t() | Quantized.t(), Manner.t()) :: Tensor.t()
    def wrap(%Tensor{} = out, %held{} = array, {lazy, device, waiting}) when held in [Array, Quantized] do
      %{out | data: %Backend{array: array, lazy: lazy, device: device, waiting: waiting}}
    end

    @doc "The array with a type; itself if it has it."
    @spec cast(Array.t(), Type.t()) :: Array.t()
    def cast(%Array{type: type} = array, type), do: array
    def cast(%Array{} = array, type), do: Native.astype(array, type, nil)

    @doc "The array with a shape; itself if it has it."
    @spec shaped(Array.t(), tuple()) :: Array.t()
    def shaped(%Array{shape: shape} = array, shape), do: array
    def shaped(%Array{} = array, shape), do: Native.reshape(array, shape, nil)

    @doc "The type of arrays for a type of Nx."
    @spec type(Nx.Type.t() | Tensor.t()) :: Type.t()
    def type(%Tensor{type: type}), do: type(type)

    for type <- Type.all(), type != :bool do
      def type(unquote(Type.to_nx(type))), do: unquote(type)
    end

    for {narrow, type} <- ForeignTypes.held() do
      def type(unquote(narrow)), do: unquote(type)
    end

    def type(type) do
      raise ArgumentError,
            "Mlx.Backend: MLX has no type #{Nx.Type.to_string(type)}; " <>
              "convert the tensor with Nx.as_type/2 in Nx.BinaryBackend, or keep it there"
    end
  end
end
