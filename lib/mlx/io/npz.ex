defmodule Mlx.IO.Npz do
  @moduledoc false
  # The format of numpy for arrays with names: a zip archive with a npy file for each.

  alias Mlx.Array
  alias Mlx.IO.{Bytes, Npy, Zip}

  # Zip without its 64-bit extension, which is all that older versions of Erlang read.
  @max_size 0xFFFFFFFE
  @max_entries 0xFFFE
  @max_name 0xFFFF - byte_size(".npy")

  # Version 2.0, and names in UTF-8.
  @version 20
  @flags 0x0800
  @stored 0
  @deflated 8
  # Midnight of the first day that there is: equal arrays make equal files.
  @time <<0::little-16, 0x21::little-16>>
  # A file that its owner may write and all may read.
  @unix 3
  @mode Bitwise.bsl(0o100644, 16)

  @doc "The bytes of an archive, in pieces: those of each array, which are asked of MLX one after the other, and the end."
  @spec encode(%{String.t() => Array.t()}, boolean()) :: Enumerable.t(iodata())
  def encode(arrays, compress) do
    if map_size(arrays) > @max_entries do
      raise Mlx.Error,
            "a npz file takes #{@max_entries} arrays, and there are #{map_size(arrays)}; save them as safetensors"
    end

    Stream.transform(
      Enum.sort_by(arrays, fn {name, _array} -> name end),
      fn -> {0, []} end,
      fn {name, array}, {offset, records} ->
        {piece, record, last} = entry(name, array, compress, offset)
        {[piece], {last, [record | records]}}
      end,
      fn {offset, records} -> {[directory(Enum.reverse(records), offset)], nil} end,
      fn _state -> :ok end
    )
  end

  # An entry, its record in the directory and the place where it ends.
  defp entry(name, array, compress, offset) do
    bytes = Npy.encode(array)
    data = if compress, do: deflate(bytes), else: bytes
    name = check_name!(name) <> ".npy"
    {size, length} = {check_size!(:erlang.iolist_size(data), name), check_size!(:erlang.iolist_size(bytes), name)}
    method = if compress, do: @deflated, else: @stored
    about = [<<@flags::little-16, method::little-16>>, @time, <<:erlang.crc32(bytes)::little-32>>]
    about = [<<@version::little-16>>, about, <<size::little-32, length::little-32, byte_size(name)::little-16>>]
    header = ["PK\x03\x04", about, <<0::16>>, name]
    record = ["PK\x01\x02", @version, @unix, about, <<0::64, @mode::little-32, offset::little-32>>, name]
    {[header, data], record, check_size!(offset + :erlang.iolist_size(header) + size, name)}
  end

  defp directory(records, offset) do
    {count, size} = {length(records), :erlang.iolist_size(records)}
    counts = <<0::32, count::little-16, count::little-16, size::little-32, offset::little-32, 0::16>>
    [records, "PK\x05\x06", counts]
  end

  defp check_name!(name) when byte_size(name) <= @max_name, do: name

  defp check_name!(name) do
    raise Mlx.Error, "a name of #{byte_size(name)} bytes is too long for a npz file: #{inspect(name, limit: 40)}"
  end

  defp check_size!(size, _name) when size <= @max_size, do: size

  defp check_size!(_size, name) do
    raise Mlx.Error, "#{inspect(name)} does not fit into the 4 GB of a npz file; save the arrays as safetensors"
  end

  # Without the header of zlib, as archives hold compressed entries.
  defp deflate(bytes) do
    stream = :zlib.open()

    try do
      :ok = :zlib.deflateInit(stream, :default, :deflated, -15, 8, :default)
      :zlib.deflate(stream, bytes, :finish)
    after
      :zlib.close(stream)
    end
  end

  @doc "The arrays of an archive with these bytes. Raises `Mlx.Error`, without a path, when it is damaged."
  @spec decode(Bytes.t(), Mlx.Stream.t() | nil) :: %{String.t() => Array.t()}
  def decode(bytes, stream) do
    for %{name: name} = member <- Zip.members(bytes), not String.ends_with?(name, "/"), into: %{} do
      {String.replace_suffix(name, ".npy", ""), array(name, Zip.read!(bytes, member), stream)}
    end
  end

  defp array(name, data, stream) do
    data |> Bytes.of() |> Npy.decode(stream)
  rescue
    error in Mlx.Error -> reraise Mlx.Error, "the member #{inspect(name)}: #{error.message}", __STACKTRACE__
  end
end
