defmodule Mlx.IO.GGUFMetadata do
  @moduledoc """
  Reads the header of a GGUF file: its metadata and the table of its tensors, and none of the tensors' data.

  A GGUF file (versions 2 and 3, little-endian) is laid out as

      "GGUF"  version:u32  tensor_count:u64  pair_count:u64
      pair_count   x  key:string  type:u32  value
      tensor_count x  name:string  rank:u32  dimension:u64 x rank  type:u32  offset:u64
      padding up to a multiple of the alignment
      the tensors' data; each offset counts from here

  A string is its length in bytes (u64) and the bytes. An array is the type of its elements (u32), their count (u64) and
  the elements. The alignment is the pair `general.alignment`, else 32. Dimensions are written innermost first; here they
  are given in MLX's order, outermost first.

  A header is checked while it is read: a count is trusted only where the file is long enough for it, and the data of
  every tensor has to lie inside the file, apart from that of all others.
  """

  alias Mlx.IO.{Bytes, Failure, FilePath, GGMLType}

  @typedoc "A metadata value; a float that is not finite is an atom."
  @type value :: boolean | number | :nan | :infinity | :neg_infinity | binary | [value]

  @typedoc "A tensor: its shape outermost dimension first, its offset and its size in bytes, counted in the file."
  @type tensor :: %{
          name: String.t(),
          shape: tuple,
          type: GGMLType.t(),
          offset: non_neg_integer,
          byte_size: non_neg_integer
        }

  @typedoc "A header. `types` has the type of the metadata values that are numbers, booleans or lists of these."
  @type t :: %{
          version: 2 | 3,
          alignment: pos_integer,
          metadata: %{String.t() => value},
          types: %{String.t() => Mlx.Type.t()},
          tensors: [tensor],
          data_offset: non_neg_integer
        }

  @chunk 1_048_576
  # The largest real headers (a vocabulary of 260,000 tokens with its merges) take about 15 MB.
  @max_header 67_108_864
  @max_nesting 16
  @max_rank 8
  @max_dimension 2_147_483_647
  @default_alignment 32

  # element type => bytes
  @number_sizes %{0 => 1, 1 => 1, 2 => 2, 3 => 2, 4 => 4, 5 => 4, 6 => 4, 7 => 1, 10 => 8, 11 => 8, 12 => 8}
  @string 8
  @array 9

  # element type => type of MLX
  @types %{
    0 => :u8,
    1 => :s8,
    2 => :u16,
    3 => :s16,
    4 => :u32,
    5 => :s32,
    6 => :f32,
    7 => :bool,
    10 => :u64,
    11 => :s64,
    12 => :f64
  }

  # The fewest bytes that one entry can take.
  @min_pair 13
  @min_tensor 24

  @doc false
  # The bytes that a header may take.
  def max_size, do: @max_header

  @doc false
  # The axes that a tensor may have.
  def max_rank, do: @max_rank

  @doc """
  Reads the header of the GGUF file at `path`.

      iex> path = Path.join(System.tmp_dir!(), "mlx_header_example.gguf")
      iex> Mlx.IO.save(path, %{"x" => Mlx.zeros({2, 3})}, metadata: %{"name" => "example"})
      iex> header = Mlx.IO.GGUFMetadata.read(path)
      iex> File.rm!(path)
      iex> {header.metadata["name"], Enum.map(header.tensors, &{&1.name, &1.shape})}
      {"example", [{"x", {2, 3}}]}

  Raises `Mlx.Error` when the file can't be read, is not a GGUF file, or is truncated or corrupted.
  """
  @spec read(Path.t()) :: t
  def read(path) do
    path = FilePath.string!(path, :"IO.GGUFMetadata.read")
    Failure.about("Mlx.IO.GGUFMetadata.read: cannot read #{path}", fn -> Bytes.open(path, &parse/1) end)
  end

  @doc false
  # The header of a file with these bytes. Raises `Mlx.Error`, without a path.
  @spec parse(Bytes.t()) :: t
  def parse(%Bytes{} = bytes) do
    # What is left to read: `base` is the place where the buffer that goes with it ends.
    source = %{bytes: bytes, size: bytes.size, base: 0}
    {version, tensor_count, pair_count, buffer, source} = preamble(source)
    {metadata, buffer, source} = pairs(pair_count, buffer, source, %{})
    alignment = alignment(metadata)
    {tensors, buffer, source} = tensors(tensor_count, buffer, source, [])
    data_offset = align(position(buffer, source), alignment)

    %{
      version: version,
      alignment: alignment,
      metadata: Map.new(metadata, fn {key, {_type, value}} -> {key, value} end),
      types:
        for({key, {type, _value}} <- metadata, mlx_type = @types[number_type(type)], into: %{}, do: {key, mlx_type}),
      tensors: place(tensors, data_offset, alignment, source),
      data_offset: data_offset
    }
  end

  defp preamble(source) do
    case more(<<>>, source, 24) do
      {<<"GGUF", version::little-32, tensors::little-64, pairs::little-64, buffer::binary>>, source}
      when version in [2, 3] ->
        check_count(tensors, @min_tensor, "tensors", buffer, source)
        check_count(pairs, @min_pair, "metadata pairs", buffer, source)
        {version, tensors, pairs, buffer, source}

      {<<"GGUF", version::big-32, _rest::binary>>, _source} when version in [2, 3] ->
        fail("is a big-endian GGUF file; only little-endian ones are supported")

      {<<"GGUF", version::little-32, _rest::binary>>, _source} ->
        fail("has GGUF version #{version}; versions 2 and 3 are supported")

      {_other, _source} ->
        fail("is not a GGUF file")
    end
  end

  # Metadata

  defp pairs(0, buffer, source, pairs), do: {pairs, buffer, source}

  defp pairs(count, buffer, source, pairs) do
    {key, buffer, source} = name("a metadata key", buffer, source)
    if is_map_key(pairs, key), do: fail("has the metadata key #{inspect(key)} twice")
    {type, buffer, source} = uint32(buffer, source)
    {element_type, buffer, source} = element_type(type, buffer, source)
    {value, buffer, source} = value(type, key, buffer, source, 0)
    pairs(count - 1, buffer, source, Map.put(pairs, key, {element_type, value}))
  end

  # The type of a value, in a list for that of the elements of an array; the buffer still begins with the array.
  defp element_type(@array, buffer, source) do
    {<<type::little-32, _rest::binary>> = buffer, source} = more(buffer, source, 4)
    {[type], buffer, source}
  end

  defp element_type(type, buffer, source), do: {type, buffer, source}

  defp number_type([type]), do: type
  defp number_type(type), do: type

  defp value(@string, _key, buffer, source, _depth) do
    {string, buffer, source} = string(buffer, source)
    {:binary.copy(string), buffer, source}
  end

  defp value(@array, key, _buffer, _source, @max_nesting) do
    fail("nests arrays more than #{@max_nesting} deep in #{inspect(key)}")
  end

  defp value(@array, key, buffer, source, depth) do
    {type, buffer, source} = uint32(buffer, source)
    {count, buffer, source} = uint64(buffer, source)
    check_count(count, min_size(type, key), "elements of #{inspect(key)}", buffer, source)
    elements(type, count, key, buffer, source, depth)
  end

  defp value(type, key, buffer, source, _depth) do
    {[number], buffer, source} = numbers(type, 1, key, buffer, source)
    {number, buffer, source}
  end

  defp elements(@string, count, _key, buffer, source, _depth), do: strings(count, buffer, source, [])

  defp elements(@array, count, key, buffer, source, depth) do
    {arrays, {buffer, source}} =
      Enum.map_reduce(1..count//1, {buffer, source}, fn _index, {buffer, source} ->
        {array, buffer, source} = value(@array, key, buffer, source, depth + 1)
        {array, {buffer, source}}
      end)

    {arrays, buffer, source}
  end

  defp elements(type, count, key, buffer, source, _depth), do: numbers(type, count, key, buffer, source)

  defp strings(0, buffer, source, strings), do: {Enum.reverse(strings), buffer, source}

  defp strings(count, <<size::little-64, string::binary-size(size), buffer::binary>>, source, strings) do
    strings(count - 1, buffer, source, [string | strings])
  end

  defp strings(count, buffer, source, strings) do
    {string, buffer, source} = string(buffer, source)
    strings(count - 1, buffer, source, [string | strings])
  end

  defp numbers(type, count, key, buffer, source) do
    size = count * min_size(type, key)
    {buffer, source} = more(buffer, source, size)
    <<numbers::binary-size(size), buffer::binary>> = buffer
    {decode(type, numbers, key), buffer, source}
  end

  defp decode(0, bytes, _key), do: :binary.bin_to_list(bytes)
  defp decode(1, bytes, _key), do: for(<<number::signed-8 <- bytes>>, do: number)
  defp decode(2, bytes, _key), do: for(<<number::little-16 <- bytes>>, do: number)
  defp decode(3, bytes, _key), do: for(<<number::little-signed-16 <- bytes>>, do: number)
  defp decode(4, bytes, _key), do: for(<<number::little-32 <- bytes>>, do: number)
  defp decode(5, bytes, _key), do: for(<<number::little-signed-32 <- bytes>>, do: number)
  defp decode(6, bytes, _key), do: for(<<bits::binary-4 <- bytes>>, do: float32(bits))
  defp decode(7, bytes, key), do: for(<<byte <- bytes>>, do: boolean(byte, key))
  defp decode(10, bytes, _key), do: for(<<number::little-64 <- bytes>>, do: number)
  defp decode(11, bytes, _key), do: for(<<number::little-signed-64 <- bytes>>, do: number)
  defp decode(12, bytes, _key), do: for(<<bits::binary-8 <- bytes>>, do: float64(bits))

  defp float32(<<number::little-float-32>>), do: number
  defp float32(<<0::16, 1::1, 0::7, sign::1, 0x7F::7>>), do: infinity(sign)
  defp float32(_bits), do: :nan

  defp float64(<<number::little-float-64>>), do: number
  defp float64(<<0::48, 0xF0, sign::1, 0x7F::7>>), do: infinity(sign)
  defp float64(_bits), do: :nan

  defp infinity(0), do: :infinity
  defp infinity(1), do: :neg_infinity

  defp boolean(0, _key), do: false
  defp boolean(1, _key), do: true
  defp boolean(byte, key), do: fail("has #{byte} for a boolean in #{inspect(key)}")

  defp min_size(@string, _key), do: 8
  defp min_size(@array, _key), do: 12

  defp min_size(type, key) do
    case @number_sizes do
      %{^type => size} -> size
      _other -> fail("has the unknown value type #{type} in #{inspect(key)}")
    end
  end

  # The format knows no alignment of another type.
  defp alignment(pairs) do
    case pairs do
      %{"general.alignment" => {4, alignment}} when alignment > 0 and Bitwise.band(alignment, alignment - 1) == 0 ->
        alignment

      %{"general.alignment" => {_type, value}} ->
        fail("has the alignment #{inspect(value)}; it must be a power of two, written as a u32")

      _none ->
        @default_alignment
    end
  end

  # Tensors

  defp tensors(0, buffer, source, tensors), do: {Enum.reverse(tensors), buffer, source}

  defp tensors(count, buffer, source, tensors) do
    {name, buffer, source} = name("a tensor's name", buffer, source)
    {rank, buffer, source} = uint32(buffer, source)

    if rank > @max_rank, do: fail("gives tensor #{inspect(name)} #{rank} dimensions, over #{@max_rank}")
    {dimensions, buffer, source} = numbers(10, rank, name, buffer, source)
    {type, buffer, source} = uint32(buffer, source)
    {offset, buffer, source} = uint64(buffer, source)
    tensors(count - 1, buffer, source, [tensor(name, dimensions, type, offset) | tensors])
  end

  defp tensor(name, dimensions, code, offset) do
    type =
      case GGMLType.fetch(code) do
        {:ok, type} -> type
        :error -> fail("has the unknown type #{code} for tensor #{inspect(name)}")
      end

    case Enum.find(dimensions, &(&1 > @max_dimension)) do
      nil -> :ok
      dimension -> fail("gives tensor #{inspect(name)} a dimension of #{dimension}, more than MLX can have")
    end

    %{
      name: name,
      shape: dimensions |> Enum.reverse() |> List.to_tuple(),
      type: type,
      offset: offset,
      byte_size: tensor_size(name, dimensions, type)
    }
  end

  defp tensor_size(name, dimensions, type) do
    {numbers, bytes} = GGMLType.block(type)
    row = List.first(dimensions, 1)

    if rem(row, numbers) != 0 do
      fail("gives tensor #{inspect(name)} rows of #{row} numbers; #{type} needs a multiple of #{numbers}")
    end

    blocks = div(Enum.product(dimensions), numbers)

    # Blocks are rows of an array while they are unpacked.
    if numbers > 1 and blocks > @max_dimension do
      fail("has a tensor #{inspect(name)} of #{blocks} blocks, more than MLX can have")
    end

    blocks * bytes
  end

  # Offsets in the file, once it is known where the data starts.
  defp place(tensors, data_offset, alignment, source) do
    case tensors -- Enum.uniq_by(tensors, & &1.name) do
      [] -> :ok
      [%{name: name} | _] -> fail("has the tensor #{inspect(name)} twice")
    end

    tensors
    |> Enum.map(&%{&1 | offset: data_offset + offset!(&1, data_offset, alignment, source)})
    |> check_apart!()
  end

  defp offset!(%{offset: offset, byte_size: size} = tensor, data_offset, alignment, source) do
    if rem(offset, alignment) != 0 do
      fail("has tensor #{told(tensor)} at offset #{offset}, which is not a multiple of #{alignment}")
    end

    if data_offset + offset + size > source.size do
      last = data_offset + offset + size
      fail("is too short for tensor #{told(tensor)}: it ends at byte #{last} of #{source.size}")
    end

    offset
  end

  # What many tensors share would be read many times.
  defp check_apart!(tensors) do
    tensors
    |> Enum.reject(&(&1.byte_size == 0))
    |> Enum.sort_by(& &1.offset)
    |> Enum.reduce(nil, fn tensor, former ->
      if former && former.offset + former.byte_size > tensor.offset do
        fail("has tensor #{told(tensor)} at byte #{tensor.offset}, inside of tensor #{told(former)}")
      end

      tensor
    end)

    tensors
  end

  defp told(%{name: name, type: type}), do: "#{inspect(name)} of the format #{type}"

  # Reading

  defp name(what, buffer, source) do
    {name, buffer, source} = string(buffer, source)
    if not String.valid?(name), do: fail("has #{what} that is not UTF-8: #{inspect(name, limit: 40)}")
    {:binary.copy(name), buffer, source}
  end

  defp string(<<size::little-64, string::binary-size(size), buffer::binary>>, source), do: {string, buffer, source}

  defp string(buffer, source) do
    {<<size::little-64, _rest::binary>> = buffer, source} = more(buffer, source, 8)
    {<<_size::64, string::binary-size(size), buffer::binary>>, source} = more(buffer, source, 8 + size)
    {string, buffer, source}
  end

  defp uint32(<<number::little-32, buffer::binary>>, source), do: {number, buffer, source}
  defp uint32(buffer, source), do: more(buffer, source, 4) |> then(fn {buffer, source} -> uint32(buffer, source) end)

  defp uint64(<<number::little-64, buffer::binary>>, source), do: {number, buffer, source}
  defp uint64(buffer, source), do: more(buffer, source, 8) |> then(fn {buffer, source} -> uint64(buffer, source) end)

  # Makes the buffer at least `size` bytes long.
  defp more(buffer, source, size) when byte_size(buffer) >= size, do: {buffer, source}

  defp more(buffer, source, size) do
    check_left(size, buffer, source)
    missing = size - byte_size(buffer)

    size = missing |> max(@chunk) |> min(source.size - source.base)
    {buffer <> Bytes.read!(source.bytes, source.base, size), %{source | base: source.base + size}}
  end

  defp check_count(count, min_size, what, buffer, source) do
    if count * min_size > left(buffer, source) do
      fail("claims #{count} #{what}, more than its #{source.size} bytes can hold")
    end
  end

  defp check_left(size, buffer, source) do
    position = position(buffer, source)

    cond do
      position + size > source.size ->
        fail("is truncated or corrupted: #{size} bytes are expected at byte #{position} of #{source.size}")

      position + size > @max_header ->
        fail("has a header of more than #{@max_header} bytes")

      true ->
        :ok
    end
  end

  defp left(buffer, source), do: source.size - position(buffer, source)

  defp position(buffer, source), do: source.base - byte_size(buffer)

  defp align(offset, alignment), do: div(offset + alignment - 1, alignment) * alignment

  @spec fail(String.t()) :: no_return
  defp fail(problem), do: raise(Mlx.Error, "it #{problem}")
end
