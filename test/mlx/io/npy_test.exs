defmodule Mlx.IO.NpyTest do
  use ExUnit.Case, async: true

  alias Mlx.IO.{Bytes, Npy}

  defp bytes(array), do: IO.iodata_to_binary(Npy.encode(array))
  defp decode(bytes), do: bytes |> Bytes.of() |> Npy.decode(nil)

  # A file with a header of your own.
  defp file(dictionary, data, version \\ 1) do
    header = dictionary <> "\n"
    length = if version == 1, do: <<byte_size(header)::little-16>>, else: <<byte_size(header)::little-32>>
    <<0x93, "NUMPY", version, 0, length::binary, header::binary, data::binary>>
  end

  test "all types and shapes come back" do
    for type <- Mlx.Type.all(), shape <- [{}, {3}, {2, 3}, {0, 2}] do
      array = Mlx.reshape(Mlx.as_type(Mlx.arange(Tuple.product(shape)), type), shape)
      assert {got, wanted} = {decode(bytes(array)), array}
      assert {got.shape, got.type} == {wanted.shape, wanted.type}
      assert Mlx.to_binary(got) == Mlx.to_binary(wanted)
    end
  end

  test "the data begins at a multiple of 64 bytes" do
    for rank <- 0..8 do
      array = Mlx.zeros(List.to_tuple(List.duplicate(1, rank)))
      assert rem(byte_size(bytes(array)) - 4, 64) == 0
    end
  end

  test "big-endian numbers, columns first, and newer versions" do
    big = file("{'descr': '>i2', 'fortran_order': False, 'shape': (3,), }", <<1::16, -2::16, 300::16>>)
    assert Mlx.to_list(decode(big)) == [1, -2, 300]

    complex = file("{'descr': '>c8', 'fortran_order': False, 'shape': (1,), }", <<1.5::float-32, -2.0::float-32>>)
    assert Mlx.to_list(decode(complex)) == [{1.5, -2.0}]

    columns = file("{'descr': '|u1', 'fortran_order': True, 'shape': (2, 3), }", <<1, 2, 3, 4, 5, 6>>)
    assert Mlx.to_list(decode(columns)) == [[1, 3, 5], [2, 4, 6]]

    for version <- [2, 3] do
      newer =
        file("{\"shape\": (), 'shape': (), 'descr': '<f4', 'fortran_order': False}", <<2.5::float-little-32>>, version)

      assert Mlx.to_number(decode(newer)) == 2.5
    end
  end

  test "says what is wrong with a file" do
    good = "{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }"

    for {bytes, message} <- [
          {"", ~r/not a npy file/},
          {"PK\x03\x04", ~r/not a npy file/},
          {<<0x93, "NUMPY", 9, 0, 0, 0>>, ~r/version 9/},
          {<<0x93, "NUMPY", 1, 0, 200, 0, "{}">>, ~r/cut short/},
          {file("{}", ""), ~r/header is damaged/},
          {file(good, <<0, 0, 0>>), ~r/promises 8 bytes of data, but there are 3/},
          {file(String.replace(good, "<f4", "<f16"), ""), ~r/no type for numpy's "<f16"/},
          {file(String.replace(good, "'<f4'", "[('a', '<f4')]"), ""), ~r/not an array of numbers/},
          {file(String.replace(good, "(2,)", "(2147483647, 2147483647)"), ""), ~r/promises/},
          {file(String.replace(good, "(2,)", "(0, 2147483648)"), ""), ~r/at most 2147483647 elements/},
          {file(String.replace(good, "(2,)", "(0, 99999999999)"), ""), ~r/at most 2147483647 elements/},
          {file(String.replace(good, "(2,)", "(-2,)"), ""), ~r/header is damaged/}
        ] do
      assert_raise Mlx.Error, message, fn -> decode(bytes) end
    end
  end
end
