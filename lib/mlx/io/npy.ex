defmodule Mlx.IO.Npy do
  @moduledoc false
  # The format of numpy for one array: a line with a Python dictionary, then the elements.
  #
  #     0x93 "NUMPY" major minor  length of the header (u16, from version 2 on u32)
  #     {'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }  padding "\n"

  alias Mlx.{Array, Evaluation, Native, Type}

  @magic <<0x93, "NUMPY">>
  # A header of version 1 is not longer.
  @head 65_545

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
    [[@magic, 1, 0, length, header, padding, "\n"], Evaluation.to_binary(array)]
  end

  @doc """
  The array of a file of `size` bytes. MLX reads it when the array is evaluated; a header that numpy and MLX do not write
  is read here. Raises `Mlx.Error`, without a path, when the file is not what it should be.
  """
  @spec load(Path.t(), non_neg_integer(), Mlx.Stream.t() | nil) :: Array.t()
  def load(path, size, stream) do
    with {:ok, <<@magic, 1, _minor, rest::binary>>} <- File.open!(path, [:read, :raw, :binary], &:file.read(&1, @head)),
         {header, _data} <- header(1, rest),
         true <- plain?(header) do
      {_order, type} = type(header)
      sizes = sizes(header)
      check_size!(size - byte_size(header) - 10, sizes, type)

      case {Native.load(path, stream), List.to_tuple(sizes)} do
        {%Array{shape: shape, type: ^type} = array, shape} -> array
        _other -> path |> File.read!() |> decode(stream)
      end
    else
      _other -> path |> File.read!() |> decode(stream)
    end
  end

  @doc "The array that these bytes hold. Raises `Mlx.Error`, without a path, when they are not what they should be."
  @spec decode(binary(), Mlx.Stream.t() | nil) :: Array.t()
  def decode(<<@magic, major, _minor, rest::binary>>, stream) do
    {header, data} = header(major, rest)
    {order, type} = type(header)
    sizes = sizes(header)
    data = binary_part(data, 0, check_size!(byte_size(data), sizes, type))
    fortran = field(header, ~r/'fortran_order'\s*:\s*(True|False)/) == "True"
    array(data, sizes, type, fortran, order, stream)
  end

  def decode(_bytes, _stream), do: raise(Mlx.Error, "it is not a npy file")

  defp header(1, <<length::little-16, header::binary-size(length), data::binary>>), do: {header, data}

  defp header(major, <<length::little-32, header::binary-size(length), data::binary>>) when major in [2, 3] do
    {header, data}
  end

  defp header(major, _rest) when major in 1..3, do: raise(Mlx.Error, "the header is cut short")
  defp header(major, _rest), do: raise(Mlx.Error, "version #{major} of the npy format is not known")

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
    |> Enum.map(&String.to_integer/1)
  end

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
