defmodule Mlx.IO.GGMLBlocks do
  @moduledoc false
  # The numbers in the blocks of ggml's quantized formats.
  #
  # Q4_0, Q4_1 and Q8_0 stay quantized, as MLX can multiply by them: its quantized matrices, too, have a scale for each 32
  # numbers, and a bias. They are words of numbers without a sign, the first in the lowest bits:
  #
  #     number = scale * quantized + bias
  #
  # All others are computed in `:f32` and rounded to `:f16`. Of those whose name ends in K, a block is 256 numbers, in
  # groups of 16 or 32. Each group has a scale, which is quantized itself, with the scale `d` of the block, and in some
  # formats a minimum, with `dmin`:
  #
  #     number = d * scale * quantized - dmin * minimum

  use Mlx.Operators

  alias Mlx.Array
  alias Mlx.IO.GGMLType

  @quantized [:q4_0, :q4_1, :q8_0]
  @computed [:q5_0, :q5_1, :q2_k, :q3_k, :q4_k, :q5_k, :q6_k]

  @doc "How many arrays a tensor becomes: 3 when it stays quantized, 1 when it is computed, 0 when it is not read."
  @spec parts(GGMLType.t()) :: 0 | 1 | 3
  def parts(type) when type in @quantized, do: 3
  def parts(type) when type in @computed, do: 1
  def parts(_type), do: 0

  @doc """
  What a binary of whole blocks holds, in arrays with a row for each block: words, scales and biases, or the numbers.
  """
  @spec unpack(GGMLType.t(), binary()) :: [Array.t()]
  def unpack(type, data) do
    {_numbers, size} = GGMLType.block(type)
    blocks = Mlx.from_binary(data, {div(byte_size(data), size), size}, :u8)

    case parts(type) do
      3 -> quantized(type, blocks)
      1 -> [Mlx.as_type(numbers(type, blocks), :f16)]
    end
  end

  # d | 32 numbers of 4 bits, too large by 8
  defp quantized(:q4_0, blocks) do
    scales = half(blocks, 0)
    [nibbles(blocks, 2), scales, scales * -8]
  end

  # d | minimum | 32 numbers of 4 bits
  defp quantized(:q4_1, blocks), do: [nibbles(blocks, 4), half(blocks, 0), half(blocks, 2)]

  # d | 32 numbers with a sign, which are too large by 128 when they have none
  defp quantized(:q8_0, blocks) do
    scales = half(blocks, 0)
    [blocks |> bytes(2, 32) |> Mlx.bitcast(:u32) |> Mlx.bitwise_xor(0x80808080), scales, scales * -128]
  end

  # 16 bytes, with the first 16 numbers in the low halves and the others in the high ones, become two after the other in
  # each byte. Two bytes at a time are a number of 16 bits here.
  defp nibbles(blocks, start) do
    pairs = blocks |> bytes(start, 16) |> Mlx.bitcast(:u16)
    low = Mlx.bitwise_or(bits(pairs, 0, 0x0F), bits(pairs, 4, 0xF0))
    high = Mlx.bitwise_or(bits(pairs, 4, 0x0F), bits(pairs, 8, 0xF0))
    [low, high] |> Mlx.concatenate(axis: 1) |> Mlx.as_type(:u8) |> Mlx.bitcast(:u32)
  end

  # d | the highest bit of 32 numbers | their 4 others; they are too large by 16
  defp numbers(:q5_0, blocks), do: float(blocks, 0) * (of_5_bits(blocks, 2) - 16.0)

  # d | minimum | the highest bit of 32 numbers | their 4 others
  defp numbers(:q5_1, blocks), do: float(blocks, 0) * of_5_bits(blocks, 4) + float(blocks, 2)

  # 16 scales and minimums of 4 bits | 256 numbers of 2 bits | d | dmin
  defp numbers(:q2_k, blocks) do
    both = bytes(blocks, 0, 16)
    numbers = spread(blocks, 16, {2, 32}, [0, 2, 4, 6])
    scaled(numbers, float(blocks, 80) * bits(both, 0, 15), float(blocks, 82) * bits(both, 4, 15))
  end

  # the highest bit of 256 numbers | their 2 others | 16 scales of 6 bits | d
  #
  # The numbers are too large by 4, and the scales by 32.
  defp numbers(:q3_k, blocks) do
    numbers = blocks |> spread(32, {2, 32}, [0, 2, 4, 6]) |> with_high(spread(blocks, 0, {1, 32}, 0..7), 2)
    scales = blocks |> spread(96, {1, 8}, [0, 4]) |> with_high(spread(blocks, 104, {1, 4}, [0, 2, 4, 6]), 4)
    scaled(numbers - 4.0, float(blocks, 108) * (scales - 32.0))
  end

  # d | dmin | 8 scales and minimums of 6 bits | 256 numbers of 4 bits
  defp numbers(:q4_k, blocks) do
    {scales, minimums} = of_6_bits(blocks, 4)
    blocks |> spread(16, {4, 32}, [0, 4]) |> scaled(float(blocks, 0) * scales, float(blocks, 2) * minimums)
  end

  # d | dmin | 8 scales and minimums of 6 bits | the highest bit of 256 numbers | their 4 others
  defp numbers(:q5_k, blocks) do
    {scales, minimums} = of_6_bits(blocks, 4)
    numbers = blocks |> spread(48, {4, 32}, [0, 4]) |> with_high(spread(blocks, 16, {1, 32}, 0..7), 4)
    scaled(numbers, float(blocks, 0) * scales, float(blocks, 2) * minimums)
  end

  # the 4 low bits of 256 numbers, which are too large by 32 | their 2 high ones | 16 scales with a sign | d
  defp numbers(:q6_k, blocks) do
    numbers = blocks |> spread(0, {2, 64}, [0, 4]) |> with_high(spread(blocks, 128, {2, 32}, [0, 2, 4, 6]), 4)
    scaled(numbers - 32.0, float(blocks, 208) * Mlx.bitcast(bytes(blocks, 192, 16), :s8))
  end

  defp of_5_bits(blocks, start) do
    blocks |> spread(start + 4, {1, 16}, [0, 4]) |> with_high(spread(blocks, start, {4, 1}, 0..7), 4)
  end

  # 12 bytes. Scales 0 to 3 are in the first 4, and minimums 0 to 3 in the next. Those of 4 to 7 have their low 4 bits in
  # the last 4 bytes, and their high ones in what is left of the others.
  defp of_6_bits(blocks, start) do
    [scales, minimums, both] = for index <- 0..2, do: bytes(blocks, start + 4 * index, 4)

    {Mlx.concatenate([bits(scales, 0, 63), with_high(bits(both, 0, 15), bits(scales, 6, 3), 4)], axis: 1),
     Mlx.concatenate([bits(minimums, 0, 63), with_high(bits(both, 4, 15), bits(minimums, 6, 3), 4)], axis: 1)}
  end

  # Each number times the scale of its group, less its minimum.
  defp scaled(numbers, scales), do: numbers |> grouped(scales) |> ungrouped()
  defp scaled(numbers, scales, minimums), do: ungrouped(grouped(numbers, scales) - Mlx.new_axis(minimums, 2))

  defp grouped(%Array{shape: {blocks, count}} = numbers, %Array{shape: {blocks, groups}} = scales) do
    Mlx.reshape(numbers, {blocks, groups, div(count, groups)}) * Mlx.new_axis(scales, 2)
  end

  defp ungrouped(%Array{shape: {blocks, groups, size}} = numbers), do: Mlx.reshape(numbers, {blocks, groups * size})

  # `rows` times `size` bytes, of which each holds a number at each of the shifts: those at the first shift of all bytes
  # of a row, those at the second, and so on.
  defp spread(blocks, start, {rows, size}, shifts) do
    count = Enum.count(shifts)
    shifts = shifts |> Enum.to_list() |> Mlx.array(type: :u8) |> Mlx.new_axis(1)

    blocks
    |> bytes(start, rows * size)
    |> Mlx.reshape({elem(blocks.shape, 0), rows, 1, size})
    |> bits(shifts, Bitwise.bsl(1, div(8, count)) - 1)
    |> Mlx.reshape({elem(blocks.shape, 0), rows * count * size})
  end

  defp with_high(low, high, shift), do: Mlx.bitwise_or(low, Mlx.left_shift(high, shift))

  defp bits(array, shift, mask), do: array |> Mlx.right_shift(shift) |> Mlx.bitwise_and(mask)

  defp float(blocks, start), do: blocks |> half(start) |> Mlx.as_type(:f32)

  defp half(blocks, start), do: blocks |> bytes(start, 2) |> Mlx.bitcast(:f16)

  defp bytes(%Array{shape: {count, _size}} = blocks, start, size) do
    Mlx.slice(blocks, [0, start], [count, size])
  end
end
