defmodule Mlx.IO.Safetensors do
  @moduledoc false
  # The format of safetensors:
  #
  #     the length of the header (u64), the header, the elements of the arrays
  #
  # The header is JSON, filled up with blanks to a multiple of 8 bytes:
  #
  #     {"__metadata__":{"key":"value"},"name":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]}}
  #
  # Offsets count from its end. The largest elements come first, so that all are aligned, and then the names decide: the
  # order of the reference implementation.

  alias Mlx.{Array, Native, Type}
  alias Mlx.IO.{Bytes, SafetensorsHeader}
  alias Mlx.Ops.Creation
  alias Mlx.Values.Reading

  # The types that MLX reads.
  @types %{
    bool: "BOOL",
    u8: "U8",
    u16: "U16",
    u32: "U32",
    u64: "U64",
    s8: "I8",
    s16: "I16",
    s32: "I32",
    s64: "I64",
    f16: "F16",
    bf16: "BF16",
    f32: "F32",
    c64: "C64"
  }

  @metadata SafetensorsHeader.metadata_key()
  @max_header SafetensorsHeader.max_size()

  @doc """
  The bytes of a file: the header, and then those of each array, which are asked of MLX one after the other.

  Names and metadata are UTF-8 without zero bytes. Raises `Mlx.Error`, without a path, when the format has no place for
  something.
  """
  @spec encode(%{String.t() => Array.t()}, %{String.t() => String.t()}) :: Enumerable.t(iodata())
  def encode(arrays, metadata) do
    kinds = for {name, %Array{shape: shape, type: type}} <- arrays, do: {name, %{shape: shape, type: type}}
    pieces(kinds, metadata, &Reading.to_binary(Map.fetch!(arrays, &1)))
  end

  @doc "As `encode/2`, with the shapes and types of arrays, and a function that gives the bytes of the one with a name."
  @spec pieces([{String.t(), kind}], %{String.t() => String.t()}, (String.t() -> iodata())) :: Enumerable.t(iodata())
        when kind: %{shape: Array.shape(), type: Type.t()}
  def pieces(kinds, metadata, read) do
    entries = Enum.sort_by(kinds, fn {name, kind} -> {-Type.bytes(kind.type), name} end)
    Stream.concat([header(entries, metadata)], Stream.map(entries, fn {name, _kind} -> read.(name) end))
  end

  @doc """
  The arrays and the metadata. MLX reads the arrays of a file when they are evaluated; those of a binary are copied.

  Raises `Mlx.Error`, without a path, when something is not what it should be.
  """
  @spec decode(Bytes.t(), Mlx.Stream.t() | nil) :: {%{String.t() => Array.t()}, %{String.t() => String.t()}}
  def decode(bytes, stream) do
    %{tensors: tensors, metadata: metadata} = SafetensorsHeader.parse(bytes)
    {arrays(bytes, tensors, stream), metadata}
  end

  defp arrays(%Bytes{path: nil} = bytes, tensors, _stream) do
    Map.new(tensors, fn {name, tensor} ->
      data = Bytes.read!(bytes, tensor.offset, tensor.byte_size)
      {name, Creation.from_binary(data, tensor.shape, tensor.type)}
    end)
  end

  # MLX opens the file by itself, which then may be another one.
  defp arrays(%Bytes{path: path}, tensors, stream) do
    {arrays, _metadata} = Native.load_safetensors(path, stream)

    if Map.new(arrays, &kind/1) != Map.new(tensors, &kind/1) do
      raise Mlx.Error, "it was changed while it was read"
    end

    arrays
  end

  defp kind({name, %{shape: shape, type: type}}), do: {name, {shape, type}}

  defp header(entries, metadata) do
    {entries, _size} = Enum.map_reduce(entries, 0, &entry/2)
    pairs = for {key, value} <- Enum.sort(metadata), do: [string(key), ?:, string(value)]
    metadata = if pairs == [], do: [], else: [[string(@metadata), ?:, object(pairs)]]
    json = object(metadata ++ entries)
    size = IO.iodata_length(json)
    padding = rem(8 - rem(size, 8), 8)

    if size + padding >= @max_header do
      raise Mlx.Error, "the names, shapes and metadata take #{size} bytes, and MLX reads less than #{@max_header}"
    end

    [<<size + padding::little-64>>, json, :binary.copy(" ", padding)]
  end

  defp entry({@metadata, _array}, _offset) do
    raise Mlx.Error, "an array cannot have the name #{inspect(@metadata)}, which is that of the metadata"
  end

  defp entry({name, %{shape: shape, type: type}}, offset) do
    last = offset + Tuple.product(shape) * Type.bytes(type)
    shape = shape |> Tuple.to_list() |> Enum.join(",")
    fields = ~s("dtype":"#{type!(name, type)}","shape":[#{shape}],"data_offsets":[#{offset},#{last}])
    {[string(name), ?:, object([fields])], last}
  end

  defp type!(name, type) do
    @types[type] ||
      raise Mlx.Error, "#{inspect(name)} has the type #{inspect(type)}, which MLX does not read from safetensors files"
  end

  defp object(pairs), do: [?{, Enum.intersperse(pairs, ?,), ?}]

  defp string(text), do: [?", for(<<byte <- text>>, into: "", do: escape(byte)), ?"]

  defp escape(byte) when byte in [?", ?\\], do: <<?\\, byte>>
  defp escape(byte) when byte < 0x20, do: "\\u" <> String.pad_leading(Integer.to_string(byte, 16), 4, "0")
  defp escape(byte), do: <<byte>>
end
