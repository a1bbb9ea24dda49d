defmodule Mlx.IO.GGUFMetadataTest do
  use ExUnit.Case, async: true

  alias Mlx.IO.{Bytes, GGUFMetadata}

  doctest Mlx.IO.GGMLType
  doctest GGUFMetadata

  import Mlx.GGUFFile

  @u8 0
  @u32 4
  @f32 6
  @bool 7
  @string 8
  @array 9
  @f64 12

  defp read(bytes), do: GGUFMetadata.parse(Bytes.of(bytes))

  defp refuse(bytes, message) do
    error = assert_raise Mlx.Error, fn -> read(bytes) end
    assert error.message =~ message
  end

  test "reads every type of value" do
    numbers =
      for {type, bits, low, high, signed} <- [
            {0, 8, 0, 255, false},
            {1, 8, -128, 127, true},
            {2, 16, 0, 65_535, false},
            {3, 16, -32_768, 32_767, true},
            {4, 32, 0, 4_294_967_295, false},
            {5, 32, -2_147_483_648, 2_147_483_647, true},
            {10, 64, 0, 18_446_744_073_709_551_615, false},
            {11, 64, -9_223_372_036_854_775_808, 9_223_372_036_854_775_807, true}
          ],
          number <- [low, high, 7] do
        bytes = if signed, do: <<number::little-signed-size(bits)>>, else: <<number::little-size(bits)>>
        {"n#{type}.#{number}", type, bytes, number}
      end

    others = [
      {"f32", @f32, <<0.15625::little-float-32>>, 0.15625},
      {"f32.nan", @f32, <<0x7FC00000::little-32>>, :nan},
      {"f32.inf", @f32, <<0x7F800000::little-32>>, :infinity},
      {"f64", @f64, <<0.1::little-float-64>>, 0.1},
      {"f64.inf", @f64, <<0xFFF0000000000000::little-64>>, :neg_infinity},
      {"f64.nan", @f64, <<0xFFF0000000000001::little-64>>, :nan},
      {"yes", @bool, <<1>>, true},
      {"no", @bool, <<0>>, false},
      {"text", @string, string("naïve 😀"), "naïve 😀"},
      {"bytes", @string, string(<<0xFF, 0>>), <<0xFF, 0>>},
      {"empty", @string, string(""), ""},
      {"list", @array, u32(@u32) <> u64(3) <> u32(1) <> u32(2) <> u32(3), [1, 2, 3]},
      {"none", @array, u32(@string) <> u64(0), []},
      {"words", @array, u32(@string) <> u64(2) <> string("a") <> string(""), ["a", ""]},
      {"nested", @array,
       u32(@array) <>
         u64(2) <> u32(@u8) <> u64(2) <> <<1, 2>> <> u32(@array) <> u64(1) <> u32(@bool) <> u64(1) <> <<1>>,
       [[1, 2], [[true]]]}
    ]

    all = numbers ++ others
    result = read(file(Enum.map(all, fn {key, type, bytes, _value} -> pair(key, type, bytes) end), [], ""))
    assert result.metadata == Map.new(all, fn {key, _type, _bytes, value} -> {key, value} end)
    assert %{"n1.7" => :s8, "n10.7" => :u64, "f64" => :f64, "yes" => :bool, "list" => :u32} = result.types
    for key <- ["text", "words", "nested", "none"], do: refute(is_map_key(result.types, key))
    assert result.tensors == []
    assert result.version == 3
  end

  test "places the tensors" do
    pairs = [pair("general.alignment", @u32, u32(64))]
    tensors = [tensor("a.weight", [64, 2], 3, 0), tensor("b", [3], 0, 128), tensor("c", [], 1, 192)]
    result = read(file(pairs, tensors, :binary.copy(<<0>>, 194), alignment: 64, version: 2))

    assert rem(result.data_offset, 64) == 0
    assert result.alignment == 64
    assert result.version == 2
    start = result.data_offset

    assert result.tensors == [
             %{name: "a.weight", shape: {2, 64}, type: :q4_1, offset: start, byte_size: 80},
             %{name: "b", shape: {3}, type: :f32, offset: start + 128, byte_size: 12},
             %{name: "c", shape: {}, type: :f16, offset: start + 192, byte_size: 2}
           ]
  end

  test "a vocabulary longer than the first read is whole" do
    words = for index <- 1..200_000, do: "word #{index}"
    value = IO.iodata_to_binary([u32(@string), u64(200_000), Enum.map(words, &string/1)])
    assert byte_size(value) > 2 * 1_048_576
    result = read(file([pair("words", @array, value), pair("last", @u32, u32(9))], [], ""))
    assert result.metadata == %{"words" => words, "last" => 9}
  end

  test "every truncation of a file raises" do
    whole =
      file(
        [
          pair("a", @array, u32(@string) <> u64(2) <> string("x") <> string("yz")),
          pair("b", @array, u32(@array) <> u64(1) <> u32(@u8) <> u64(1) <> <<1>>),
          pair("c", @f64, <<1.5::little-float-64>>)
        ],
        [tensor("t", [4, 3], 0, 0)],
        :binary.copy(<<1>>, 48)
      )

    assert %{tensors: [%{shape: {3, 4}}]} = read(whole)

    for size <- 0..(byte_size(whole) - 1) do
      assert_raise Mlx.Error, fn -> read(binary_part(whole, 0, size)) end
    end
  end

  test "random damage raises Mlx.Error or reads, and nothing else" do
    whole =
      file(
        [
          pair("general.alignment", @u32, u32(32)),
          pair("a", @array, u32(@string) <> u64(2) <> string("x") <> string("yz")),
          pair("n", @array, u32(@array) <> u64(1) <> u32(@f32) <> u64(1) <> <<1::32>>)
        ],
        [tensor("t", [32, 3], 8, 0), tensor("u", [4], 0, 128)],
        :binary.copy(<<1>>, 144)
      )

    :rand.seed(:exsss, {1, 2, 3})

    outcomes =
      for _round <- 1..2000 do
        at = :rand.uniform(byte_size(whole)) - 1
        <<before::binary-size(at), _byte, rest::binary>> = whole

        try do
          %{tensors: tensors} = read(before <> <<:rand.uniform(256) - 1>> <> rest)
          assert Enum.all?(tensors, &(&1.offset + &1.byte_size <= byte_size(whole)))
          :read
        rescue
          error in Mlx.Error -> assert error.message != "" && :raised
        end
      end

    assert Enum.frequencies(outcomes).read > 100
    assert Enum.frequencies(outcomes).raised > 100
  end

  @tag :tmp_dir
  test "what is not a GGUF file", %{tmp_dir: folder} do
    refuse("", "truncated")
    refuse(:binary.copy("x", 100), "is not a GGUF file")
    refuse(file([], [], "", version: 1), "GGUF version 1")
    refuse(file([], [], "", preamble: "GGUF" <> <<3::big-32, 0::128>>), "big-endian")

    assert_raise Mlx.Error, ~r/no such file/, fn -> GGUFMetadata.read(Path.join(folder, "none.gguf")) end
    assert_raise Mlx.Error, ~r/directory/, fn -> GGUFMetadata.read(folder) end
  end

  test "counts that the file can't hold" do
    huge = 0xFFFFFFFFFFFFFFFF
    refuse(file([], [], "", preamble: "GGUF" <> u32(3) <> u64(huge) <> u64(0)), "tensors")
    refuse(file([], [], "", preamble: "GGUF" <> u32(3) <> u64(0) <> u64(huge)), "metadata pairs")

    for type <- [@u8, @u32, @f64, @bool, @string, @array] do
      refuse(file([pair("list", @array, u32(type) <> u64(huge))], [], "xxxx"), ~s(elements of "list"))
    end

    refuse(file([pair("text", @string, u64(huge))], [], ""), "truncated or corrupted")
    refuse(file([u64(huge)], [], "xxxxx", preamble: "GGUF" <> u32(3) <> u64(0) <> u64(1)), "truncated")
  end

  test "values that mean nothing" do
    refuse(file([pair("b", @bool, <<2>>)], [], ""), "boolean")
    refuse(file([pair("t", 13, <<0>>)], [], ""), "unknown value type 13")
    refuse(file([pair("t", @array, u32(77) <> u64(1) <> "x")], [], ""), "unknown value type 77")
    refuse(file([pair("k", @u8, "1"), pair("k", @u8, "2")], [], ""), ~s(key "k" twice))
    refuse(file([pair(<<0xFF>>, @u8, "1")], [], ""), "not UTF-8")

    deep = String.duplicate(u32(@array) <> u64(1), 40) <> u32(@u8) <> u64(0)
    refuse(file([pair("deep", @array, deep)], [], ""), "nests arrays")
  end

  test "alignments that are none" do
    refuse(file([pair("general.alignment", @u32, u32(0))], [], ""), "alignment 0")
    refuse(file([pair("general.alignment", @u32, u32(48))], [], ""), "power of two")
    refuse(file([pair("general.alignment", 10, u64(64))], [], ""), "u32")
  end

  test "tensors that are not in the file" do
    data = :binary.copy(<<0>>, 64)
    refuse(file([], [tensor("t", [17], 0, 0)], data), ~s(too short for tensor "t"))
    refuse(file([], [tensor("t", [1], 0, 64)], data), "too short")
    refuse(file([], [tensor("t", [1], 0, 0xFFFFFFFFFFFFFFE0)], data), "too short")
    refuse(file([], [tensor("t", [0x80000000], 0, 0)], data), "dimension of 2147483648")
    refuse(file([], [tensor("t", [0x7FFFFFFF, 0x7FFFFFFF, 0x7FFFFFFF], 0, 0)], data), "too short")
    refuse(file([], [tensor("t", [1], 0, 4)], data), "not a multiple of 32")
    refuse(file([], [tensor("t", [1], 4, 0)], data), "unknown type 4")
    refuse(file([], [tensor("t", [1], 38, 0)], data), "unknown type 38")
    refuse(file([], [tensor("t", [], 3, 0)], data), "multiple of 32")
    refuse(file([], [tensor("t", [33], 2, 0)], data), "multiple of 32")
    refuse(file([], [tensor("t", [0x7FFFFFE0, 64], 8, 0)], data), "4294967232 blocks, more")
    refuse(file([], [tensor("t", List.duplicate(1, 9), 0, 0)], data), "9 dimensions")
    refuse(file([], [tensor("t", [1], 0, 0), tensor("t", [1], 0, 0)], data), "twice")
    refuse(file([], [tensor(<<0xC0>>, [1], 0, 0)], data), "not UTF-8")

    inside = ~s(tensor "b" of the format f32 at byte 128, inside of tensor "a" of the format q8_0)
    refuse(file([], [tensor("b", [1], 0, 32), tensor("a", [32], 8, 0)], data), inside)
    nothing = [tensor("a", [2], 0, 0), tensor("b", [0], 0, 0), tensor("c", [4], 0, 32)]
    assert length(read(file([], nothing, data)).tensors) == 3
  end

  test "a header too long to be one" do
    value = u32(@u8) <> u64(70_000_000) <> :binary.copy(<<0>>, 70_000_000)
    refuse(file([pair("long", @array, value)], [], ""), "header of more than")
  end

  @tag :model
  test "reads a real model's header, and quickly" do
    path = System.fetch_env!("MLX_TEST_MODEL")
    {micros, result} = :timer.tc(fn -> GGUFMetadata.read(path) end)

    assert result.metadata["general.architecture"] == "llama"
    assert length(result.metadata["tokenizer.ggml.tokens"]) == result.metadata["llama.vocab_size"]
    assert length(result.tensors) == 2 + 9 * result.metadata["llama.block_count"]
    last = Enum.max_by(result.tensors, & &1.offset)
    assert last.offset + last.byte_size == File.stat!(path).size
    assert micros < 1_000_000
  end
end
