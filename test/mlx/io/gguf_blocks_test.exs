defmodule Mlx.IO.GGUFBlocksTest do
  # Blocks of every quantized format, with any bits, against PyPI's gguf.
  use ExUnit.Case, async: true

  import Mlx.GGUFFile
  import Mlx.Oracle
  use Mlx.Operators

  alias Mlx.IO.{GGMLFormat, GGMLType}

  @moduletag :oracle

  # format => code, and the places of its :f16 numbers in a block
  @formats %{
    q4_0: {2, [0]},
    q4_1: {3, [0, 2]},
    q5_0: {6, [0]},
    q5_1: {7, [0, 2]},
    q8_0: {8, [0]},
    q2_k: {10, [80, 82]},
    q3_k: {11, [108]},
    q4_k: {12, [0, 2]},
    q5_k: {13, [0, 2]},
    q6_k: {14, [208]},
    iq2_xxs: {16, [0]},
    iq2_xs: {17, [0]},
    iq3_xxs: {18, [0]},
    iq1_s: {19, [0]},
    iq4_nl: {20, [0]},
    iq3_s: {21, [0]},
    iq2_s: {22, [0]},
    iq4_xs: {23, [0]},
    iq1_m: {29, []},
    tq1_0: {34, [52]},
    tq2_0: {35, [64]},
    mxfp4: {39, []},
    nvfp4: {40, []}
  }

  # 600 blocks draw 19,200 indices: of the 2,048 vectors of the largest grid, one is left out in 6 of 100,000 seeds.
  @blocks 600

  # Any bits of a block, with :f16 numbers that are common ones: both signs, exponents of all but the largest.
  defp blocks(format, scale) do
    {_code, places} = @formats[format]
    {_numbers, size} = GGMLType.block(format)
    {bytes, _state} = :rand.bytes_s(@blocks * size, :rand.seed_s(:exsss, :erlang.phash2(format)))

    for <<block::binary-size(size) <- bytes>>, into: <<>> do
      Enum.reduce(places, block, fn place, block ->
        <<before::binary-size(place), bits::little-16, rest::binary>> = block
        <<before::binary, scale.(bits)::little-16, rest::binary>>
      end)
    end
  end

  # A number with any sign and fraction.
  defp common(bits), do: Bitwise.band(bits, 0x83FF) + Bitwise.bsl(rem(bits, 30) + 1, 10)
  defp tiny(bits), do: Bitwise.band(bits, 0x83FF)
  defp not_finite(bits), do: Bitwise.bor(Bitwise.band(bits, 0x8000 + rem(bits, 2) * 0x3FF), 0x7C00)

  # MLX takes the byte 255 for no number, of which gguf makes 2 ** 128, and 480 for NVFP4.
  defp without_largest(:mxfp4, data), do: of_bytes(data, 17, 1)
  defp without_largest(:nvfp4, data), do: of_bytes(data, 36, 4)
  defp without_largest(_format, data), do: data

  defp of_bytes(data, size, count) do
    for <<block::binary-size(size) <- data>>, into: <<>> do
      <<scales::binary-size(count), codes::binary>> = block
      :binary.replace(scales, <<255>>, <<254>>, [:global]) <> codes
    end
  end

  defp load(format, data, options) do
    {code, _places} = @formats[format]
    {numbers, _size} = GGMLType.block(format)

    {arrays, quantization} =
      file_of([{"x.weight", [numbers, @blocks], code, data}])
      |> Mlx.IO.decode([format: :gguf, quantization: true] ++ options)

    {arrays, quantization["x.weight"]}
  end

  defp expected(format, data) do
    {_numbers, size} = GGMLType.block(format)
    name = format |> to_string() |> String.upcase()
    eval("ggml.numbers(x, '#{name}')", x: Mlx.from_binary(data, {@blocks, size}, :u8))
  end

  defp same_bits(got, wanted) do
    assert got.shape == wanted.shape and got.type == wanted.type
    assert Mlx.Ulps.distance(:f32, Mlx.to_binary(got), Mlx.to_binary(wanted)) == 0
  end

  for format <- Map.keys(@formats) do
    test "#{format}: numbers are those of gguf to the bit" do
      for scale <- [&common/1, &tiny/1, &not_finite/1] do
        data = blocks(unquote(format), scale)
        {%{"x.weight" => x} = arrays, nil} = load(unquote(format), data, form: :dense, type: :f32)
        assert map_size(arrays) == 1
        same_bits(x, expected(unquote(format), data))
      end
    end

    if GGMLFormat.quantization(format) do
      test "#{format}: what stays quantized is dequantized to the numbers of gguf" do
        for scale <- [&common/1, &tiny/1] do
          data = without_largest(unquote(format), blocks(unquote(format), scale))
          {arrays, quantization} = load(unquote(format), data, type: :f32)

          [weights, scales, biases] = for part <- ~w(weight scales biases), do: arrays["x.#{part}"]
          got = Mlx.dequantize(weights, scales, biases, quantization ++ [type: :f32])
          # The sum of two numbers has no sign where it is zero, and zero plus zero has none.
          same_bits(got + 0.0, expected(unquote(format), data) + 0.0)
        end
      end
    end
  end
end
