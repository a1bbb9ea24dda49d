defmodule Mlx.IO.GGUF do
  @moduledoc false
  # Reads GGUF files: the header with `Mlx.IO.GGUFMetadata`, and then one tensor after the other.

  alias Mlx.{Array, Stream}
  alias Mlx.IO.{Bytes, GGMLBlocks, GGMLType, GGUFMetadata}

  # So many bytes of a tensor are unpacked at once.
  @piece 4_194_304

  # The types that MLX has, too.
  @types %{
    f16: :f16,
    bf16: :bf16,
    f32: :f32,
    f64: :f64,
    i8: :s8,
    i16: :s16,
    i32: :s32,
    i64: :s64
  }

  @doc """
  The arrays and the header of a file with these bytes. Blocks are unpacked on the stream.

  Raises `Mlx.Error`, without a path, when something is not what it should be.
  """
  @spec decode(Bytes.t(), Stream.t() | nil) :: {%{String.t() => Array.t()}, GGUFMetadata.t()}
  def decode(bytes, nil) do
    header = GGUFMetadata.parse(bytes)
    tensors = for tensor <- header.tensors, do: {names(tensor), tensor}
    tensors |> Enum.flat_map(&elem(&1, 0)) |> check_names!()
    arrays = for {names, tensor} <- tensors, named <- Enum.zip(names, arrays(tensor, bytes)), into: %{}, do: named
    {arrays, header}
  end

  def decode(bytes, stream), do: Stream.with_current(stream, fn -> decode(bytes, nil) end)

  # A tensor that stays quantized is three arrays.
  defp names(%{name: name, type: type}) do
    case if(is_map_key(@types, type), do: 1, else: GGMLBlocks.parts(type)) do
      1 -> [name]
      3 -> [name | Enum.map([".scales", ".biases"], &(String.replace_suffix(name, ".weight", "") <> &1))]
      0 -> raise Mlx.Error, "the tensor #{inspect(name)} has the format #{type}, which is not read"
    end
  end

  defp check_names!(names) do
    case names -- Enum.uniq(names) do
      [] -> :ok
      [name | _] -> raise Mlx.Error, "it has two arrays with the name #{inspect(name)}, one of a quantized tensor"
    end
  end

  defp arrays(%{shape: shape, type: type} = tensor, bytes) when is_map_key(@types, type) do
    [Mlx.from_binary(Bytes.read!(bytes, tensor.offset, tensor.byte_size), shape, @types[type])]
  end

  defp arrays(%{type: type, offset: offset, byte_size: size} = tensor, bytes) do
    {_numbers, block} = GGMLType.block(type)
    piece = div(@piece, block) * block

    # A tensor without elements is one piece without bytes.
    pieces =
      for at <- 0..max(size - 1, 0)//piece do
        type |> GGMLBlocks.unpack(Bytes.read!(bytes, offset + at, min(piece, size - at))) |> Mlx.eval()
      end

    pieces |> Enum.zip_with(&join(&1, tensor)) |> Mlx.eval()
  end

  # Arrays with a row for each block. Blocks follow each other along the last axis of the tensor.
  defp join(rows, %{shape: shape, type: type}) do
    %Array{shape: {_blocks, width}} = joined = Mlx.concatenate(rows)
    {numbers, _bytes} = GGMLType.block(type)
    last = tuple_size(shape) - 1
    Mlx.reshape(joined, put_elem(shape, last, div(elem(shape, last) * width, numbers)))
  end
end
