if Code.ensure_loaded?(Nx) do
  defmodule Mlx.Nx.Backend.ForeignTypes do
    @moduledoc false
    # Types of Nx that MLX lacks. Narrow ones are held in wider ones: integers wrap around in every result as those of
    # their own size do, floating-point numbers are computed as they are held, and rounded where they leave the array. One
    # that is wider than all of MLX's is absent: see `Mlx.Nx.Backend.Fallback`.

    alias Mlx.{Array, Native, Type}
    alias Nx.{BinaryBackend, Tensor}

    @held %{
      {:u, 2} => :u8,
      {:u, 4} => :u8,
      {:s, 2} => :s8,
      {:s, 4} => :s8,
      {:f, 8} => :f16,
      {:f8_e4m3fn, 8} => :f16
    }

    @types Map.keys(@held)

    defguard is_narrow(type) when type in @types

    @doc "Whether no type of MLX can hold the numbers of a tensor."
    defguard is_absent(tensor) when :erlang.map_get(:type, tensor) == {:c, 128}

    @doc "The types, each with that of the array that holds it."
    @spec held() :: %{Nx.Type.t() => Type.t()}
    def held, do: @held

    @doc "The bits of numbers, as the bytes of the array that holds them."
    @spec unpack(bitstring(), Nx.Type.t()) :: binary()
    def unpack(bits, type), do: convert(bits, type, Type.to_nx(@held[type]))

    @doc "The bytes of an array, as the bits of numbers."
    @spec pack(binary(), Nx.Type.t()) :: bitstring()
    def pack(bytes, type), do: convert(bytes, Type.to_nx(@held[type]), type)

    defp convert(bits, {_, size} = from, to) do
      template = %Tensor{type: from, shape: {div(bit_size(bits), size)}, names: [nil]}
      tensor = BinaryBackend.from_binary(template, bits, [])
      BinaryBackend.as_type(%{template | type: to}, tensor).data.state
    end

    @doc "The array with its numbers wrapped around."
    @spec wrap_around(Array.t(), Nx.Type.t()) :: Array.t()
    def wrap_around(array, {:u, bits}), do: Native.bitwise_and(array, 2 ** bits - 1, nil)

    def wrap_around(array, {:s, bits}) do
      array |> Native.left_shift(8 - bits, nil) |> Native.right_shift(8 - bits, nil)
    end

    def wrap_around(array, _float), do: array
  end
end
