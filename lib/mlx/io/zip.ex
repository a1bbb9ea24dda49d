defmodule Mlx.IO.Zip do
  @moduledoc false
  # Reads zip archives, one member after the other.
  #
  #     header and data of each member
  #     directory: a record of each member
  #     end: where the directory is
  #
  # Sizes and places have 32 bits. Those that do not fit are all ones, and stand in an extra field of the record, or in a
  # second end before the end, with 64 bits.

  alias Mlx.IO.Bytes

  @type member :: %{
          name: String.t(),
          method: non_neg_integer(),
          crc: non_neg_integer(),
          size: non_neg_integer(),
          length: non_neg_integer(),
          offset: non_neg_integer()
        }

  # What each part has before names and the like.
  @header 30
  @end_size 22
  @locator_size 20
  @wide_end_size 56
  # A comment follows the end.
  @max_comment 0xFFFF

  @stored 0
  @deflated 8

  @all_ones 0xFFFFFFFF
  @wide 1

  @doc """
  The members of an archive with these bytes, in the order of its directory.

  Raises `Mlx.Error`, without a path, when it is none, or damaged. Of one that was cut short it names the member where it
  ends.
  """
  @spec members(Bytes.t()) :: [member()]
  def members(bytes) do
    {offset, size, count} = directory!(bytes)
    members = bytes |> Bytes.read!(offset, size) |> records([])
    if length(members) == count, do: members, else: damaged!()
  end

  @doc "The data of a member. Raises `Mlx.Error`, with its name, when it is damaged."
  @spec read!(Bytes.t(), member()) :: binary()
  def read!(bytes, %{name: name, method: method, size: size, length: length, crc: crc} = member) do
    data = bytes |> Bytes.read!(data_offset!(bytes, member), size) |> unpack!(method)

    cond do
      byte_size(data) != length -> raise Mlx.Error, "it has #{byte_size(data)} bytes instead of #{length}"
      :erlang.crc32(data) != crc -> raise Mlx.Error, "its checksum is not that of the archive"
      true -> data
    end
  rescue
    error in Mlx.Error -> reraise Mlx.Error, "the member #{inspect(name)} is damaged: #{error.message}", __STACKTRACE__
  end

  # The directory

  defp directory!(bytes) do
    size = min(bytes.size, @end_size + @max_comment)
    start = bytes.size - size
    tail = Bytes.read!(bytes, start, size)

    case tail |> :binary.matches("PK\x05\x06") |> Enum.reverse() |> Enum.find_value(&end_at(tail, &1)) do
      nil -> cut_short!(bytes)
      {at, count, size, offset} when count == 0xFFFF or @all_ones in [size, offset] -> wide_end!(bytes, start + at)
      {_at, count, size, offset} -> {offset, size, count}
    end
  end

  # An end takes what is left, with its comment.
  defp end_at(tail, {at, _length}) do
    case binary_part(tail, at, byte_size(tail) - at) do
      <<"PK\x05\x06", 0::32, count::little-16, count::little-16, size::little-32, offset::little-32, comment::little-16,
        _comment::binary-size(comment)>> ->
        {at, count, size, offset}

      _other ->
        nil
    end
  end

  defp wide_end!(bytes, at) do
    with true <- at >= @locator_size,
         <<"PK\x06\x07", _disk::32, wide::little-64, _disks::32>> <-
           Bytes.read!(bytes, at - @locator_size, @locator_size),
         <<"PK\x06\x06", _size::64, _versions::32, _disks::64, count::little-64, count::little-64, size::little-64,
           offset::little-64>> <- Bytes.read!(bytes, wide, @wide_end_size) do
      {offset, size, count}
    else
      _other -> damaged!()
    end
  end

  defp records(<<>>, members), do: Enum.reverse(members)

  defp records(
         <<"PK\x01\x02", _versions::32, _flags::16, method::little-16, _time::32, crc::little-32, size::little-32,
           length::little-32, name_size::little-16, extra_size::little-16, comment_size::little-16, _disk::16,
           _attributes::48, offset::little-32, name::binary-size(name_size), extra::binary-size(extra_size),
           _comment::binary-size(comment_size), records::binary>>,
         members
       ) do
    if not String.valid?(name), do: raise(Mlx.Error, "a name in its directory is not UTF-8: #{inspect(name)}")
    [length, size, offset] = widen([length, size, offset], extra)
    member = %{name: name, method: method, crc: crc, size: size, length: length, offset: offset}
    records(records, [member | members])
  end

  defp records(_records, _members), do: damaged!()

  # The numbers that are all ones come from the extra field, in their order.
  defp widen(numbers, extra) do
    {numbers, _wide} =
      Enum.map_reduce(numbers, wide_field(extra), fn
        @all_ones, <<number::little-64, wide::binary>> -> {number, wide}
        number, wide -> {number, wide}
      end)

    numbers
  end

  defp wide_field(<<@wide::little-16, size::little-16, field::binary-size(size), _rest::binary>>), do: field
  defp wide_field(<<_id::16, size::little-16, _field::binary-size(size), rest::binary>>), do: wide_field(rest)
  defp wide_field(_rest), do: <<>>

  # Members

  defp data_offset!(bytes, %{name: name, offset: offset}) do
    case header(bytes, offset) do
      %{name: ^name, data_offset: data_offset} -> data_offset
      _other -> raise Mlx.Error, "its header is not at byte #{offset}"
    end
  end

  # The header of a member, or nil.
  defp header(bytes, offset) when offset + @header > bytes.size, do: nil

  defp header(bytes, offset) do
    with <<"PK\x03\x04", _version::16, _flags::16, _method::16, _time::32, _crc::32, size::little-32, length::little-32,
           name_size::little-16, extra_size::little-16>> <- Bytes.read!(bytes, offset, @header),
         data_offset = offset + @header + name_size + extra_size,
         true <- data_offset <= bytes.size do
      <<name::binary-size(name_size), extra::binary>> =
        Bytes.read!(bytes, offset + @header, name_size + extra_size)

      [_length, size] = widen([length, size], extra)
      %{name: name, data_offset: data_offset, size: size}
    else
      _other -> nil
    end
  end

  defp unpack!(data, @stored), do: data

  defp unpack!(data, @deflated) do
    stream = :zlib.open()

    try do
      # Without the header of zlib, as archives hold compressed members.
      :ok = :zlib.inflateInit(stream, -15)
      stream |> :zlib.inflate(data) |> IO.iodata_to_binary()
    rescue
      _error in ErlangError -> raise Mlx.Error, "its data cannot be unpacked"
    after
      :zlib.close(stream)
    end
  end

  defp unpack!(_data, method), do: raise(Mlx.Error, "it is packed by method #{method}, and only deflate is read")

  # Damage

  @spec damaged!() :: no_return()
  defp damaged!, do: raise(Mlx.Error, "its directory of members is damaged")

  @spec cut_short!(Bytes.t()) :: no_return()
  defp cut_short!(bytes) do
    case last_name(bytes, 0, nil) do
      nil -> raise Mlx.Error, "it is not a zip archive, as a npz file is one"
      name -> raise Mlx.Error, "it is cut short: it ends in or after the member #{inspect(name)}, without a directory"
    end
  end

  # An archive that is whole up to where it ends has one header after the other.
  defp last_name(bytes, offset, last) do
    case header(bytes, offset) do
      %{name: name, data_offset: data_offset, size: size} -> last_name(bytes, data_offset + size, name)
      nil -> last
    end
  end
end
