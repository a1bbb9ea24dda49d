defmodule Mlx.IO.ZipTest do
  use ExUnit.Case, async: true

  alias Mlx.IO.{Bytes, Zip}

  # Archives by Erlang's own hand.
  defp archive(members, options \\ []) do
    members = for {name, data} <- members, do: {to_charlist(name), data}
    {:ok, {_name, bytes}} = :zip.create(~c"a.zip", members, [:memory | options])
    bytes
  end

  defp read(bytes) do
    bytes = Bytes.of(bytes)
    for member <- Zip.members(bytes), do: {member.name, Zip.read!(bytes, member)}
  end

  test "members, packed and not, and a comment" do
    members = [{"a", "once"}, {"empty", ""}, {"zeros", :binary.copy(<<0>>, 1_000_000)}]
    assert read(archive(members)) == members
    assert read(archive(members, uncompress: :all)) == members
    assert read(archive(members, comment: ~c"a PK\x05\x06 comment")) == members
    assert byte_size(archive(members)) < 10_000
    assert read(<<"PK\x05\x06", 0::144>>) == []
  end

  # What does not fit into 32 bits, and what may not, stands elsewhere.
  test "sizes and places of 64 bits" do
    crc = :erlang.crc32("data")
    wide = <<1::little-16, 24::little-16, 4::little-64, 4::little-64, 0::64>>
    about = <<45::little-16, 0::32, 0::32, crc::little-32, -1::64, 1::little-16>>
    member = <<"PK\x03\x04", about::binary, 20::little-16, "a", binary_part(wide, 0, 2)::binary, 16::little-16>>
    member = member <> binary_part(wide, 4, 16) <> "data"
    other = <<7::little-16, 1::little-16, 9>>

    record =
      <<"PK\x01\x02", 45::little-16, about::binary, byte_size(other <> wide)::little-16, 0::80, -1::32, "a">> <>
        other <> wide

    start = byte_size(member)
    wide_end = start + byte_size(record)
    counts = <<1::little-64, 1::little-64, byte_size(record)::little-64, start::little-64>>

    last =
      <<"PK\x06\x06", 44::little-64, 0::96, counts::binary, "PK\x06\x07", 0::32, wide_end::little-64, 1::little-32,
        "PK\x05\x06", 0::32, -1::32, -1::64, 0::16>>

    assert read(member <> record <> last) == [{"a", "data"}]
    damaged = member <> record <> String.replace(last, "PK\x06\x06", "PK\x06\x05")
    assert_raise Mlx.Error, "its directory of members is damaged", fn -> read(damaged) end
  end

  test "every cut says which member is the last that is there" do
    bytes = archive([{"first", "data"}, {"second", "more"}], uncompress: :all)
    [{first, _}, {second, _}] = :binary.matches(bytes, ["data", "more"])

    for size <- 0..(byte_size(bytes) - 1) do
      error = assert_raise Mlx.Error, fn -> read(binary_part(bytes, 0, size)) end

      expected =
        cond do
          size < first -> "it is not a zip archive, as a npz file is one"
          size < second -> ~s(it is cut short: it ends in or after the member "first", without a directory)
          true -> ~s(it is cut short: it ends in or after the member "second", without a directory)
        end

      assert error.message =~ expected
    end
  end

  test "damage is told with the member" do
    bytes = archive([{"name", String.duplicate("some text ", 10)}])
    <<_fixed::binary-28, extra::little-16, _rest::binary>> = bytes
    <<header::binary-size(34 + extra), first, rest::binary>> = bytes

    assert_raise Mlx.Error, ~s(the member "name" is damaged: its data cannot be unpacked), fn ->
      read(header <> <<Bitwise.bor(first, 0x06)>> <> rest)
    end

    assert_raise Mlx.Error, ~s(the member "name" is damaged: its header is not at byte 0), fn ->
      read(String.replace(bytes, "PK\x03\x04", "PK\x03\x05"))
    end

    stored = archive([{"name", "data"}], uncompress: :all)

    assert_raise Mlx.Error, ~s(the member "name" is damaged: its checksum is not that of the archive), fn ->
      read(String.replace(stored, "data", "date"))
    end

    [{at, _}, _] = :binary.matches(stored, "name")
    <<before::binary-size(at), _n, rest::binary>> = stored
    assert_raise Mlx.Error, ~r/the member "name" is damaged: its header/, fn -> read(before <> "m" <> rest) end

    directory = String.replace(stored, "PK\x01\x02", "PK\x01\x03")
    assert_raise Mlx.Error, "its directory of members is damaged", fn -> read(directory) end
  end

  test "other ways to pack, and names that are none" do
    stored = archive([{"name", "data"}], uncompress: :all)
    [{at, 4}] = :binary.matches(stored, "PK\x01\x02")
    <<before::binary-size(at + 10), 0::16, rest::binary>> = stored

    assert_raise Mlx.Error, ~r/"name" is damaged: it is packed by method 12, and only deflate is read/, fn ->
      read(<<before::binary, 12::little-16, rest::binary>>)
    end

    assert_raise Mlx.Error, ~r/a name in its directory is not UTF-8: <<255, /, fn ->
      read(String.replace(stored, "name", <<0xFF, "ame">>))
    end
  end
end
