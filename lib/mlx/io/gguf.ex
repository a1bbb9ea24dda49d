defmodule Mlx.IO.GGUF do
  @moduledoc false
  # Reads GGUF files: the header with `Mlx.IO.GGUFMetadata`, and then one tensor after the other.

  alias Mlx.{Array, Stream}
  alias Mlx.IO.{Bytes, GGMLBlocks, GGMLFormat, GGMLType, GGUFForm, GGUFMetadata}

  # So many bytes of a tensor are unpacked at once. What is computed of them takes up to 20 times as much.
  @piece 1_048_576

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
  The arrays of a file with these bytes, the quantization of those that are quantized, and the header. Blocks are unpacked
  on the stream.

  Raises `Mlx.Error`, without a path, when something is not what it should be.
  """
  @spec decode(Bytes.t(), GGUFForm.t(), Stream.t() | nil) ::
          {%{String.t() => Array.t()}, %{String.t() => keyword()}, GGUFMetadata.t()}
  def decode(bytes, form, nil) do
    header = GGUFMetadata.parse(bytes)
    tensors = for tensor <- header.tensors, do: {names(tensor, form), tensor}
    tensors |> Enum.flat_map(&elem(&1, 0)) |> check_names!()

    arrays =
      for {names, tensor} <- tensors, named <- Enum.zip(names, arrays(tensor, bytes, form)), into: %{}, do: named

    quantization =
      for {[name | _], %{type: type}} <- tensors, options = GGUFForm.quantization(form, type), into: %{} do
        {name, options}
      end

    {arrays, quantization, header}
  end

  def decode(bytes, form, stream), do: Stream.with_current(stream, fn -> decode(bytes, form, nil) end)

  # A tensor that is quantized is two or three arrays.
  defp names(%{name: name, type: type}, form) do
    unless is_map_key(@types, type) or GGMLFormat.known?(type) do
      raise Mlx.Error, "the tensor #{inspect(name)} has the format #{type}, which is not read"
    end

    case GGUFForm.quantization(form, type) do
      nil -> [name]
      options -> [name | Enum.map(suffixes(options[:mode]), &(String.replace_suffix(name, ".weight", "") <> &1))]
    end
  end

  defp suffixes(:affine), do: [".scales", ".biases"]
  defp suffixes(_mode), do: [".scales"]

  defp check_names!(names) do
    case names -- Enum.uniq(names) do
      [] -> :ok
      [name | _] -> raise Mlx.Error, "it has two arrays with the name #{inspect(name)}, one of a quantized tensor"
    end
  end

  defp arrays(%{shape: shape, type: type} = tensor, bytes, _form) when is_map_key(@types, type) do
    [Mlx.from_binary(Bytes.read!(bytes, tensor.offset, tensor.byte_size), shape, @types[type])]
  end

  defp arrays(%{type: type, offset: offset, byte_size: size} = tensor, bytes, form) do
    {_numbers, block} = GGMLType.block(type)
    piece = div(@piece, block) * block

    # A tensor without elements is one piece without bytes.
    pieces =
      for at <- 0..max(size - 1, 0)//piece do
        type |> GGMLBlocks.unpack(Bytes.read!(bytes, offset + at, min(piece, size - at)), form) |> Mlx.eval()
      end

    joined = pieces |> Enum.zip_with(&join(&1, tensor)) |> Mlx.eval()
    # The pieces would otherwise be kept for arrays of their sizes.
    if size > piece, do: Mlx.Memory.clear_cache()
    joined
  end

  # Arrays with a row for each block. Blocks follow each other along the last axis of the tensor.
  defp join(rows, %{shape: shape, type: type}) do
    %Array{shape: {_blocks, width}} = joined = Mlx.concatenate(rows)
    {numbers, _bytes} = GGMLType.block(type)
    last = tuple_size(shape) - 1
    Mlx.reshape(joined, put_elem(shape, last, div(elem(shape, last) * width, numbers)))
  end
end
