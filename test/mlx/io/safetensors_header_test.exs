defmodule Mlx.IO.SafetensorsHeaderTest do
  use ExUnit.Case, async: true

  alias Mlx.IO.{Bytes, SafetensorsHeader}

  defp file(header, data), do: <<byte_size(header)::little-64, header::binary, data::binary>>

  defp parse(header, data \\ <<>>), do: SafetensorsHeader.parse(Bytes.of(file(header, data)))

  defp tensor(dtype, shape, first, last) do
    ~s({"dtype":"#{dtype}","shape":#{inspect(shape, charlists: :as_lists)},"data_offsets":[#{first},#{last}]})
  end

  test "tensors and metadata" do
    header =
      ~s({"__metadata__":{"k":"v","é":""},"a":#{tensor("F32", [2, 3], 0, 24)},"":#{tensor("U8", [], 24, 25)},) <>
        ~s("e":#{tensor("BF16", [0, 5], 25, 25)}}   )

    start = 8 + byte_size(header)

    assert parse(header, :binary.copy(<<0>>, 25)) == %{
             metadata: %{"k" => "v", "é" => ""},
             tensors: %{
               "a" => %{type: :f32, shape: {2, 3}, offset: start, byte_size: 24},
               "" => %{type: :u8, shape: {}, offset: start + 24, byte_size: 1},
               "e" => %{type: :bf16, shape: {0, 5}, offset: start + 25, byte_size: 0}
             }
           }
  end

  test "what other writers write" do
    # Python's MLX, without metadata.
    assert parse(~s({"__metadata__":null})).metadata == %{}
    # Fields that are not known, bytes between tensors, and bytes after them.
    header =
      ~s({"a":{"dtype":"U8","shape":[1],"data_offsets":[1,2],"also":[{"x":1.5e3}]},"b":#{tensor("I8", [1], 3, 4)}})

    assert map_size(parse(header, "012345").tensors) == 2
  end

  test "each type has its size" do
    for {dtypes, size} <- [
          {~w(BOOL U8 I8 F8_E4M3 F8_E8M0), 1},
          {~w(U16 I16 F16 BF16), 2},
          {~w(U32 I32 F32), 4},
          {~w(U64 I64 C64), 8}
        ],
        dtype <- dtypes do
      assert parse(~s({"a":#{tensor(dtype, [3], 0, 3 * size)}}), :binary.copy(<<0>>, 3 * size)).tensors["a"]

      assert_raise Mlx.Error, ~r/"a" takes #{3 * size} bytes, as #{dtype} with the shape \[3\]/, fn ->
        parse(~s({"a":#{tensor(dtype, [3], 0, 3 * size + 1)}}), :binary.copy(<<0>>, 3 * size + 1))
      end
    end
  end

  test "says what is wrong" do
    data = <<0::64>>

    for {header, message} <- [
          {"[]", "its header is not an object of JSON, but []"},
          {"{", "its header is not JSON: an end of the text at byte 1"},
          {<<"{\"", 0xFF, "\":1}">>, "its header is not JSON: an unexpected <<255, 34, 58, 49, 125>> at byte 2"},
          {~s({"a":1}), ~s("a" needs a dtype, a shape and data_offsets, and its header has 1)},
          {~s({"a":{"dtype":"U8","shape":[]}}), ~s("a" needs a dtype, a shape and data_offsets)},
          {~s({"__metadata__":{"a":1}}),
           ~s(its header has "__metadata__" that is not an object of strings, but %{"a" => 1})},
          {~s({"__metadata__":[]}), ~s(its header has "__metadata__" that is not an object of strings)},
          {~s({"a\\u0000b":#{tensor("U8", [1], 0, 1)}}), "the name <<97, 0, 98>> has a zero byte"},
          {~s({"a":#{tensor("F64", [1], 0, 8)}}), ~s("a" has the dtype "F64", and MLX reads BF16, BOOL, C64)},
          {~s({"a":{"dtype":5,"shape":[],"data_offsets":[0,1]}}), ~s("a" has the dtype 5)},
          {~s({"a":#{tensor("U8", [-1, -4], 0, 4)}}), ~s(the shape of "a" is a list of integers from 0 to 2147483647)},
          {~s({"a":#{tensor("U8", [0, 2_147_483_648], 0, 0)}}), ~s(the shape of "a" is a list of integers from 0)},
          {~s({"a":{"dtype":"U8","shape":[1.0],"data_offsets":[0,1]}}), ~s(the shape of "a" is a list of integers)},
          {~s({"a":{"dtype":"U8","shape":1,"data_offsets":[0,1]}}), ~s(the shape of "a" is a list of integers)},
          {~s({"a":#{tensor("U8", [1], 1, 0)}}), ~s(the data_offsets of "a" are where its bytes begin and end)},
          {~s({"a":#{tensor("U8", [1], -1, 0)}}), ~s(the data_offsets of "a" are)},
          {~s({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1,2]}}), ~s(the data_offsets of "a" are)},
          {~s({"a":#{tensor("U8", [9], 0, 9)}}),
           ~r/it is cut short or damaged: "a" ends at byte \d+, and the file has \d+/},
          {~s({"a":#{tensor("U8", [1], 18_446_744_073_709_551_614, 18_446_744_073_709_551_615)}}), "it is cut short"},
          {~s({"a":#{tensor("F32", [65_536, 65_536, 65_536, 65_536], 0, 0)}}),
           ~s("a" takes 73786976294838206464 bytes)},
          {~s({"a":#{tensor("U8", [4], 0, 4)},"b":#{tensor("U8", [4], 3, 7)}}), ~s("a" and "b" share bytes)},
          {~s({"a":#{tensor("U8", [1], 0, 1)},"a":#{tensor("U8", [1], 1, 2)}}), ~s(the key "a" for a second time)}
        ] do
      error = assert_raise Mlx.Error, fn -> parse(header, data) end
      assert error.message =~ message
      assert String.valid?(error.message)
    end
  end

  test "lengths of the header that are none" do
    for {bytes, message} <- [
          {"", "it has 0 bytes, and a safetensors file begins with 8"},
          {"1234567", "it has 7 bytes"},
          {<<0::64>>, "its first 8 bytes give a header of 0 bytes"},
          {<<100_000_000::little-64>>,
           "give a header of 100000000 bytes, and one has at least 1 and less than 100000000"},
          {<<-1::64>>, "it is not a safetensors file"},
          {<<3::little-64, "{}">>, "it is cut short or damaged: its header takes 3 bytes, and it has 2 for it"}
        ] do
      error = assert_raise Mlx.Error, fn -> SafetensorsHeader.parse(Bytes.of(bytes)) end
      assert error.message =~ message
    end
  end
end
