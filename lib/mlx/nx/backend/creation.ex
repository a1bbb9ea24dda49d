if Code.ensure_loaded?(Nx) do
  defmodule Mlx.Nx.Backend.Creation do
    @moduledoc false
    # Tensors made of numbers.

    import Mlx.Nx.Backend.Conversion, only: [cast: 2, read: 3, result: 3, shaped: 2, type: 1, wrap: 3]

    import Mlx.Nx.Backend.ForeignTypes, only: [is_absent: 1]

    alias Mlx.{Native, Type}
    alias Mlx.Nx.Backend.Manner
    alias Nx.{BinaryBackend, Tensor}

    # These count exactly as far as arrays can be long.
    @counting [:s32, :s64, :u32, :u64, :f32, :f64]

    # A tensor of a type that MLX lacks is one of `Nx.BinaryBackend`.
    for {name, arguments} <- [constant: [:number], from_binary: [:bits], eye: [], iota: [:axis]] do
      arguments = Enum.map(arguments, &Macro.var(&1, __MODULE__))

      def unquote(name)(out, unquote_splicing(arguments), _options) when is_absent(out) do
        BinaryBackend.unquote(name)(out, unquote_splicing(arguments), [])
      end
    end

    @spec constant(Tensor.t(), number() | atom() | Complex.t(), keyword()) :: Tensor.t()
    def constant(%Tensor{shape: shape} = out, number, options) do
      scalar = scalar(number, type(out))

      if shape == {},
        do: wrap(out, scalar, Manner.from(options)),
        else: make(:constant, out, options, fn -> Native.broadcast_to(scalar, shape, nil) end)
    end

    # An integer wraps around as in Nx.
    defp scalar(number, type) when is_integer(number),
      do: Native.scalar(wrap_around(number, Type.class(type), type), type)

    defp scalar(%Complex{re: real, im: imaginary}, type), do: Native.scalar({part(real), part(imaginary)}, type)
    defp scalar(number, type), do: Native.scalar(number, type)

    defp part(number) when is_integer(number), do: number * 1.0
    defp part(number), do: number

    defp wrap_around(number, :unsigned, type), do: Bitwise.band(number, Type.max(type))

    defp wrap_around(number, :signed, type) do
      bits = Type.bits(type)
      <<wrapped::signed-size(^bits)>> = <<number::size(bits)>>
      wrapped
    end

    defp wrap_around(number, _fractional, _type), do: number

    @spec from_binary(Tensor.t(), iodata() | bitstring(), keyword()) :: Tensor.t()
    def from_binary(%Tensor{shape: shape, type: type} = out, bits, options) do
      bits = if is_list(bits), do: :erlang.list_to_bitstring(bits), else: bits
      wrap(out, read(bits, shape, type), Manner.from(options))
    end

    @spec eye(Tensor.t(), keyword()) :: Tensor.t()
    def eye(%Tensor{shape: shape} = out, options) do
      rank = tuple_size(shape)

      make(:eye, out, options, fn ->
        matrix = Native.eye(elem(shape, rank - 2), elem(shape, rank - 1), 0, type(out), nil)
        if rank == 2, do: matrix, else: Native.broadcast_to(matrix, shape, nil)
      end)
    end

    @spec iota(Tensor.t(), non_neg_integer() | nil, keyword()) :: Tensor.t()
    def iota(%Tensor{shape: shape} = out, nil, options) do
      make(:iota, out, options, fn -> Tuple.product(shape) |> count(type(out)) |> shaped(shape) end)
    end

    def iota(%Tensor{shape: shape} = out, axis, options) do
      sizes = put_elem(Tuple.duplicate(1, tuple_size(shape)), axis, elem(shape, axis))

      make(:iota, out, options, fn ->
        line = shape |> elem(axis) |> count(type(out)) |> shaped(sizes)
        if sizes == shape, do: line, else: Native.broadcast_to(line, shape, nil)
      end)
    end

    defp count(size, type) when type in @counting, do: Native.arange(0, size, 1, type, nil)
    defp count(size, type), do: Native.arange(0, size, 1, :s32, nil) |> cast(type)

    defp make(name, out, options, fun) do
      manner = Manner.from(options)
      Manner.run(manner, name, [out], fn -> result(out, fun.(), manner) end)
    end
  end
end
