defmodule Mlx.IO.SafetensorsHeader do
  @moduledoc false
  # Reads the header of a safetensors file, which `Mlx.IO.Safetensors` describes, and checks all that MLX relies on.

  alias Mlx.IO.{Bytes, JSON}
  alias Mlx.Type

  @type tensor :: %{type: Type.t(), shape: tuple(), offset: non_neg_integer(), byte_size: non_neg_integer()}
  @type t :: %{tensors: %{String.t() => tensor()}, metadata: %{String.t() => String.t()}}

  # MLX has no numbers of 8 bits with a fraction, and gives their bytes.
  @types %{
    "BOOL" => :bool,
    "U8" => :u8,
    "U16" => :u16,
    "U32" => :u32,
    "U64" => :u64,
    "I8" => :s8,
    "I16" => :s16,
    "I32" => :s32,
    "I64" => :s64,
    "F16" => :f16,
    "BF16" => :bf16,
    "F32" => :f32,
    "C64" => :c64,
    "F8_E4M3" => :u8,
    "F8_E8M0" => :u8
  }

  @metadata "__metadata__"
  @max_size 100_000_000
  @max_dimension 2_147_483_647

  @doc "The name under which the header has the metadata."
  def metadata_key, do: @metadata

  @doc "A header is shorter than so many bytes."
  def max_size, do: @max_size

  @doc "The header of a file with these bytes. Raises `Mlx.Error`, without a path, when it is not what it should be."
  @spec parse(Bytes.t()) :: t()
  def parse(%Bytes{size: size} = bytes) do
    <<length::little-64>> = if size < 8, do: too_short!(size), else: Bytes.read!(bytes, 0, 8)
    check_length!(length, size)
    {metadata, tensors} = bytes |> Bytes.read!(8, length) |> decode!() |> Map.pop(@metadata)
    tensors = Map.new(tensors, fn {name, fields} -> {name, tensor!(name, fields, 8 + length, size)} end)
    check_places!(tensors)
    %{tensors: tensors, metadata: metadata!(metadata)}
  end

  @spec too_short!(non_neg_integer()) :: no_return()
  defp too_short!(size) do
    raise Mlx.Error, "it has #{size} bytes, and a safetensors file begins with 8 that give the length of its header"
  end

  defp check_length!(length, _size) when length == 0 or length >= @max_size do
    raise Mlx.Error,
          "it is not a safetensors file: its first 8 bytes give a header of #{length} bytes, " <>
            "and one has at least 1 and less than #{@max_size}"
  end

  defp check_length!(length, size) when length > size - 8 do
    raise Mlx.Error, "it is cut short or damaged: its header takes #{length} bytes, and it has #{size - 8} for it"
  end

  defp check_length!(_length, _size), do: :ok

  defp decode!(text) do
    case json!(text) do
      %{} = header -> header
      other -> raise Mlx.Error, "its header is not an object of JSON, but #{show(other)}"
    end
  end

  defp json!(text) do
    JSON.decode!(text)
  rescue
    error in Mlx.Error -> reraise Mlx.Error, "its header is not JSON: #{error.message}", __STACKTRACE__
  end

  defp metadata!(nil), do: %{}

  defp metadata!(metadata) do
    if is_map(metadata) and Enum.all?(metadata, fn {_key, value} -> is_binary(value) end) do
      metadata
    else
      raise Mlx.Error, "its header has #{inspect(@metadata)} that is not an object of strings, but #{show(metadata)}"
    end
  end

  # Tensors

  defp tensor!(name, %{"dtype" => dtype, "shape" => shape, "data_offsets" => places}, start, size) do
    # MLX takes a zero byte for the end of a name.
    if String.contains?(name, <<0>>), do: raise(Mlx.Error, "the name #{inspect(name)} has a zero byte")
    type = type!(name, dtype)
    {first, last} = places!(name, places)
    bytes = shape |> shape!(name) |> Enum.product() |> Kernel.*(Type.bytes(type))

    if last - first != bytes do
      raise Mlx.Error,
            "#{inspect(name)} takes #{bytes} bytes, as #{dtype} with the shape #{show(shape)}, " <>
              "and its data_offsets #{show(places)} give it #{last - first}"
    end

    if start + last > size do
      raise Mlx.Error,
            "it is cut short or damaged: #{inspect(name)} ends at byte #{start + last}, and the file has #{size}"
    end

    %{type: type, shape: List.to_tuple(shape), offset: start + first, byte_size: bytes}
  end

  defp tensor!(name, fields, _start, _size) do
    raise Mlx.Error, "#{inspect(name)} needs a dtype, a shape and data_offsets, and its header has #{show(fields)}"
  end

  defp type!(name, dtype) do
    case @types do
      %{^dtype => type} ->
        type

      _none ->
        known = @types |> Map.keys() |> Enum.sort() |> Enum.join(", ")
        raise Mlx.Error, "#{inspect(name)} has the dtype #{show(dtype)}, and MLX reads #{known}"
    end
  end

  defp shape!(shape, name) do
    if is_list(shape) and Enum.all?(shape, &(is_integer(&1) and &1 in 0..@max_dimension)) do
      shape
    else
      raise Mlx.Error,
            "the shape of #{inspect(name)} is a list of integers from 0 to #{@max_dimension}, " <>
              "and the header has #{show(shape)}"
    end
  end

  defp places!(_name, [first, last]) when is_integer(first) and is_integer(last) and 0 <= first and first <= last do
    {first, last}
  end

  defp places!(name, places) do
    raise Mlx.Error,
          "the data_offsets of #{inspect(name)} are where its bytes begin and end, and the header has #{show(places)}"
  end

  # No byte is that of two tensors.
  defp check_places!(tensors) do
    tensors
    |> Enum.reject(fn {_name, tensor} -> tensor.byte_size == 0 end)
    |> Enum.sort_by(fn {_name, tensor} -> tensor.offset end)
    |> Enum.chunk_every(2, 1, :discard)
    |> Enum.each(fn [{first, %{offset: offset, byte_size: size}}, {second, %{offset: next}}] ->
      if offset + size > next, do: raise(Mlx.Error, "#{inspect(first)} and #{inspect(second)} share bytes")
    end)
  end

  defp show(value), do: inspect(value, limit: 10, printable_limit: 100, charlists: :as_lists)
end
