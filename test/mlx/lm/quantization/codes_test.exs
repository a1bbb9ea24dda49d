defmodule Mlx.LM.Quantization.CodesTest do
  use ExUnit.Case, async: true

  alias Mlx.LM.Quantization.Codes

  defp distance(a, b), do: a |> Mlx.subtract(b) |> Mlx.abs() |> Mlx.reduce_max() |> Mlx.to_number()

  test "codes of all sizes are packed as MLX packs them, and unpacked" do
    matrix = Mlx.Random.normal({3, 128}, key: Mlx.Random.key(1))

    for bits <- [2, 3, 4, 5, 6, 8], group_size <- [32, 64] do
      settings = [group_size: group_size, bits: bits, mode: :affine]
      {words, scales, biases} = Mlx.quantize(matrix, settings)
      expected = Mlx.dequantize(words, scales, biases, settings)
      grid = {Mlx.repeat(scales, group_size, axis: 1), Mlx.repeat(biases, group_size, axis: 1)}

      codes = Codes.unpacked(words, bits)
      assert Mlx.to_list(Codes.packed(codes, bits)) == Mlx.to_list(words)
      assert distance(Codes.numbers(Mlx.as_type(codes, :f32), grid), expected) < 1.0e-5

      nearest = matrix |> Codes.nearest(grid, bits) |> Codes.packed(bits)
      assert distance(Mlx.dequantize(nearest, scales, biases, settings), expected) < 1.0e-5
    end
  end
end
