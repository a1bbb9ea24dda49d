defmodule Mlx.IO.GGUFEncoder do
  @moduledoc false
  # Writes GGUF files of version 3, which `Mlx.IO.GGUFMetadata` describes.

  alias Mlx.Array
  alias Mlx.IO.GGUFMetadata
  alias Mlx.Ops.Creation
  alias Mlx.Values.{Attributes, Reading}

  # The types of arrays, and those of metadata, that MLX reads as they are.
  @array_types %{f32: 0, f16: 1, s8: 24, s16: 25, s32: 26}
  @number_types %{u8: 0, s8: 1, u16: 2, s16: 3, u32: 4, s32: 5, f32: 6, bool: 7, u64: 10, s64: 11}
  @string 8
  @array 9

  @alignment "general.alignment"
  @default_alignment 32

  @doc """
  The bytes of a file: the header, and then those of each array, which are asked of MLX one after the other.

  Names and keys are UTF-8 without zero bytes, and lists are of one kind. The arrays begin at multiples of the number
  `general.alignment` of the metadata. Raises `Mlx.Error`, without a path, when the format has no place for something,
  and `ArgumentError` for metadata that is none.
  """
  @spec encode(%{String.t() => Array.t()}, %{String.t() => term()}) :: Enumerable.t(iodata())
  def encode(arrays, metadata) do
    arrays = Enum.sort_by(arrays, fn {name, _array} -> name end)
    metadata = for {key, value} <- Enum.sort(metadata), do: {key, value(key, value)}
    alignment = alignment!(Map.new(metadata))
    data = Stream.map(arrays, fn {_name, array} -> array |> Reading.to_binary() |> fill(alignment) end)
    Stream.concat([fill(header(arrays, metadata, alignment), alignment)], data)
  end

  defp header(arrays, metadata, alignment) do
    {entries, _size} = Enum.map_reduce(arrays, 0, &entry(&1, &2, alignment))
    pairs = for {key, value} <- metadata, do: [string(key), pair(key, value)]
    header = ["GGUF", <<3::little-32, length(entries)::little-64, length(pairs)::little-64>>, pairs, entries]
    size = IO.iodata_length(header)

    if size > GGUFMetadata.max_size() do
      raise Mlx.Error,
            "the names and metadata take #{size} bytes, more than the #{GGUFMetadata.max_size()} that are read"
    end

    header
  end

  # Metadata

  # The form in which a value is written: a string, a list of strings or an array.
  defp value(_key, value) when is_binary(value) or is_struct(value, Array), do: value
  defp value(@alignment, value) when is_integer(value) and value in 1..0xFFFFFFFF, do: Creation.array(value, type: :u32)

  defp value(_key, [first | _] = strings) when is_binary(first), do: strings
  defp value(_key, value), do: Creation.array(value)

  defp pair(_key, text) when is_binary(text), do: [<<@string::little-32>>, string(text)]

  defp pair(_key, strings) when is_list(strings) do
    [<<@array::little-32, @string::little-32, length(strings)::little-64>> | Enum.map(strings, &string/1)]
  end

  defp pair(key, %Array{shape: {}} = number), do: [<<type!(key, number)::little-32>>, Reading.to_binary(number)]

  defp pair(key, %Array{shape: {size}} = numbers) when size > 0 do
    [<<@array::little-32, type!(key, numbers)::little-32, size::little-64>>, Reading.to_binary(numbers)]
  end

  defp pair(key, %Array{shape: shape}) do
    raise Mlx.Error,
          "the metadata #{inspect(key)} has the shape #{inspect(shape)}; a number or a list with elements is expected"
  end

  defp type!(key, %Array{type: type}) do
    @number_types[type] ||
      raise Mlx.Error,
            "the metadata #{inspect(key)} has the type #{inspect(type)}; :f32, :bool and integers are what MLX reads"
  end

  defp alignment!(%{@alignment => value}) do
    with %Array{shape: {}, type: :u32} <- value,
         alignment = Reading.to_number(value),
         true <- alignment > 0 and Bitwise.band(alignment, alignment - 1) == 0 do
      alignment
    else
      _other -> raise Mlx.Error, "#{@alignment} has to be a power of two, an integer or an array of the type :u32"
    end
  end

  defp alignment!(_metadata), do: @default_alignment

  # Arrays

  defp entry({name, %Array{shape: shape, type: type} = array}, offset, alignment) do
    code =
      @array_types[type] ||
        raise Mlx.Error,
              "#{inspect(name)} has the type #{inspect(type)}; a GGUF file takes :f32, :f16, :s8, :s16 and :s32"

    rank = tuple_size(shape)

    if rank > GGUFMetadata.max_rank() do
      raise Mlx.Error, "#{inspect(name)} has #{rank} axes; a GGUF file takes #{GGUFMetadata.max_rank()}"
    end

    sizes = shape |> Tuple.to_list() |> Enum.reverse() |> Enum.map(&<<&1::little-64>>)
    size = Attributes.byte_size(array)
    entry = [string(name), <<rank::little-32>>, sizes, <<code::little-32, offset::little-64>>]
    {entry, offset + size + missing(size, alignment)}
  end

  # Both

  defp string(text), do: [<<byte_size(text)::little-64>>, text]

  defp fill(bytes, alignment), do: [bytes, :binary.copy(<<0>>, missing(IO.iodata_length(bytes), alignment))]

  defp missing(size, alignment), do: rem(alignment - rem(size, alignment), alignment)
end
