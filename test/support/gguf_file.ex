defmodule Mlx.GGUFFile do
  @moduledoc """
  GGUF files, byte by byte, for tests of what reads them.

      file([pair("key", 4, u32(7))], [tensor("x", [2], 0, 0)], <<1.0::little-float-32, 2.0::little-float-32>>)
  """

  def string(text), do: <<byte_size(text)::little-64, text::binary>>
  def u32(number), do: <<number::little-32>>
  def u64(number), do: <<number::little-64>>

  @doc "A pair of the metadata: its key, the code of its type and the bytes of its value."
  def pair(key, type, value), do: string(key) <> u32(type) <> value

  @doc "An entry of the table of tensors, with the innermost dimension first."
  def tensor(name, dimensions, type, offset) do
    string(name) <> u32(length(dimensions)) <> Enum.map_join(dimensions, &u64/1) <> u32(type) <> u64(offset)
  end

  @doc "A file. Options: `:version`, `:alignment`, and `:preamble` for the part before the metadata."
  def file(pairs, tensors, data, options \\ []) do
    preamble =
      options[:preamble] || "GGUF" <> u32(options[:version] || 3) <> u64(length(tensors)) <> u64(length(pairs))

    head = IO.iodata_to_binary([preamble, pairs, tensors])
    head <> :binary.copy(<<0>>, missing(head, options[:alignment] || 32)) <> data
  end

  @doc "A file of tensors: name, dimensions, code of the type, and data."
  def file_of(tensors, pairs \\ []) do
    {entries, data} =
      Enum.map_reduce(tensors, <<>>, fn {name, dimensions, type, bytes}, data ->
        {tensor(name, dimensions, type, byte_size(data)), data <> bytes <> :binary.copy(<<0>>, missing(bytes, 32))}
      end)

    file(pairs, entries, data)
  end

  defp missing(bytes, alignment), do: rem(alignment - rem(byte_size(bytes), alignment), alignment)
end
