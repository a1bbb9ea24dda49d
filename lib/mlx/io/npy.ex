defmodule Mlx.IO.Npy do
  @moduledoc false
  # The format of numpy for one array: a line with a Python dictionary, then the elements.
  #
  #     0x93 "NUMPY" major minor  length of the header (u16, from version 2 on u32)
  #     {'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }  padding "\n"

  alias Mlx.{Array, Native, Stream, Type}
  alias Mlx.IO.Bytes
  alias Mlx.Values.Reading

  @magic <<0x93, "NUMPY">>
  # What stands before the header.
  @longest_start 12
  @max_dimension 2_147_483_647

  @types Map.new(Type.all(), &{Type.numpy(&1), &1})

  @doc "The bytes of a file that holds an array: those of the header and those of the elements, which are MLX's own."
  @spec encode(Array.t()) :: [iodata()]
  def encode(%Array{shape: shape, type: type} = array) do
    order = if Type.bytes(type) == 1, do: "|", else: "<"
    sizes = Enum.map(Tuple.to_list(shape), &"#{&1}, ")

    header =
      IO.iodata_to_binary([
        "{'descr': '",
        order,
        Type.numpy(type),
        "', 'fortran_order': False, 'shape': (",
        sizes,
        "), }"
      ])

    # The data begins at a multiple of 64 bytes; 11 are the fixed part and the end of the line.
    padding = String.duplicate(" ", 63 - rem(byte_size(header) + 10, 64))

    length = <<byte_size(header) + byte_size(padding) + 1::little-16>>
    [[@magic, 1, 0, length, header, padding, "\n"], Reading.to_binary(array)]
  end

  @doc """
  The array of a file with these bytes. MLX reads that of a file when it is evaluated, if numpy or MLX could have written
  its header; any other is read here.

  Raises `Mlx.Error`, without a path, when something is not what it should be.
  """
  @spec decode(Bytes.t(), Stream.t() | nil) :: Array.t()
  def decode(bytes, stream) do
    {header, start} = header!(bytes)
    {order, type} = type(header)
    sizes = sizes(header)
    size = check_size!(bytes.size - start, sizes, type)

    lazy(bytes, header, type, sizes, stream) ||
      bytes |> Bytes.read!(start, size) |> array(sizes, type, columns_first?(header), order, stream)
  end

  # Nil for a header that MLX does not read, or reads as another.
  defp lazy(%Bytes{path: nil}, _header, _type, _sizes, _stream), do: nil

  defp lazy(%Bytes{path: path}, header, type, sizes, stream) do
    with true <- plain?(header),
         %Array{type: ^type, shape: shape} = array <- Native.load(path, stream),
         true <- Tuple.to_list(shape) == sizes do
      array
    else
      _other -> nil
    end
  end

  # The header and the place where it ends.
  defp header!(bytes) do
    case Bytes.read!(bytes, 0, min(bytes.size, @longest_start)) do
      <<@magic, 1, _minor, length::little-16, _rest::binary>> ->
        header!(bytes, 10, length)

      <<@magic, major, _minor, length::little-32>> when major in 2..3 ->
        header!(bytes, 12, length)

      <<@magic, major, _rest::binary>> when major not in 1..3 ->
        raise Mlx.Error, "version #{major} of the npy format is not known"

      <<@magic, _rest::binary>> ->
        raise Mlx.Error, "the header is cut short"

      _other ->
        raise Mlx.Error, "it is not a npy file, which begins with #{inspect(@magic)}"
    end
  end

  defp header!(%Bytes{size: size}, start, length) when start + length > size do
    raise Mlx.Error, "the header is cut short: it takes #{length} bytes, and there are #{size - start}"
  end

  defp header!(bytes, start, length), do: {Bytes.read!(bytes, start, length), start + length}

  defp type(header) do
    <<order::binary-size(1), name::binary>> = field(header, ~r/'descr'\s*:\s*'([<>|=][a-zA-Z][0-9]*)'/)

    case @types do
      %{^name => type} -> {order, type}
      _ -> raise Mlx.Error, "MLX has no type for numpy's #{inspect(order <> name)}"
    end
  end

  # MLX takes each value of a header from a fixed place, and swaps the halves of a complex number that is big-endian.
  defp plain?(header) do
    header =~
      ~r/\A\{'descr': '[<|][a-zA-Z][0-9]', 'fortran_order': (True|False), 'shape': \((\d+, )*(\d+,?)?\),? ?\} *\n?\z/
  end

  defp check_size!(size, sizes, type) do
    expected = Enum.product(sizes) * Type.bytes(type)
    if size < expected, do: raise(Mlx.Error, "the header promises #{expected} bytes of data, but there are #{size}")
    expected
  end

  defp sizes(header) do
    header
    |> field(~r/'shape'\s*:\s*\(([0-9,\sL]*)\)/)
    |> String.split([",", " ", "L"], trim: true)
    |> Enum.map(&size!/1)
  end

  defp size!(digits) when byte_size(digits) <= 10 do
    size = String.to_integer(digits)
    if size <= @max_dimension, do: size, else: too_large!(digits)
  end

  defp size!(digits), do: too_large!(digits)

  @spec too_large!(String.t()) :: no_return()
  defp too_large!(digits) do
    raise Mlx.Error, "an axis has at most #{@max_dimension} elements, and the header has #{inspect(digits)}"
  end

  defp columns_first?(header), do: field(header, ~r/'fortran_order'\s*:\s*(True|False)/) == "True"

  defp field(header, pattern) do
    case Regex.run(pattern, header) do
      [_, value] -> value
      nil -> raise Mlx.Error, "the header is damaged, or describes something that is not an array of numbers"
    end
  end

  defp array(data, sizes, type, true, order, stream) do
    data |> array(Enum.reverse(sizes), type, false, order, stream) |> Native.transpose(stream)
  end

  # The elements of :c64 are two numbers of 4 bytes.
  defp array(data, sizes, type, false, ">", stream) do
    width = if type == :c64, do: 4, else: Type.bytes(type)

    data
    |> Native.from_binary({div(byte_size(data), width), width}, :u8)
    |> Native.flip_axis(1, stream)
    |> Native.reshape([-1], stream)
    |> Native.view(type, stream)
    |> Native.reshape(sizes, stream)
  end

  defp array(data, sizes, type, false, _order, _stream), do: Native.from_binary(data, List.to_tuple(sizes), type)
end
