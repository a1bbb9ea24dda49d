defmodule Mlx.IO.GGMLGridBlocks do
  @moduledoc false
  # Reads blocks of the formats of ggml whose names begin with IQ1, IQ2 and IQ3, for `Mlx.IO.GGMLFormat`. All are 256
  # numbers. They hold indices of vectors of `Mlx.IO.GGMLGrids`, and scales of 3 or 4 bits:
  #
  #   * IQ1_S and IQ1_M: number = d * (2 * scale + 1) * (element + 1/8), or - 1/8
  #   * IQ2: number = d * (2 * scale + 1) / 8 * element, with a sign; IQ3_XXS the same, with 4 for 8
  #   * IQ3_S: number = d * (2 * scale + 1) * element, with a sign

  import Mlx.IO.GGMLFields, only: [bytes: 3, floats: 2, integers: 2]
  use Mlx.Operators

  alias Mlx.Array
  alias Mlx.IO.{GGMLFormat, GGMLGrids, GGMLType}

  # With a sign, elements are too large by this.
  @zero 64

  @doc "What blocks of such a format hold."
  @spec content(GGMLType.t(), Array.t()) :: GGMLFormat.content()

  # d | 8 times: 4 indices of 8 bits, 4 times 7 signs, a scale
  def content(:iq2_xxs, blocks) do
    {indices, words} = halves(blocks)
    {signed(:iq2_xxs, indices, signs(words)), scales(blocks, words >>> 28, 8), {:zero, @zero}}
  end

  # d | 32 indices of 9 bits, each with 7 signs | 16 scales
  def content(:iq2_xs, blocks) do
    words = blocks |> bytes(2, 64) |> Mlx.bitcast(:u16)
    signs = with_parity(Mlx.as_type(words >>> 9, :u8))
    scales = integers([{66, {8, 1}, [0, 4], 4}], blocks)
    {signed(:iq2_xs, words &&& 511, signs), scales(blocks, scales, 8), {:zero, @zero}}
  end

  # d | the low 8 bits of 32 indices | 32 times 8 signs | their 2 high bits | 16 scales
  def content(:iq2_s, blocks) do
    indices = wide(bytes(blocks, 2, 32), integers([{66, {8, 1}, [0, 2, 4, 6], 2}], blocks))
    scales = integers([{74, {8, 1}, [0, 4], 4}], blocks)
    {signed(:iq2_s, indices, bytes(blocks, 34, 32)), scales(blocks, scales, 8), {:zero, @zero}}
  end

  # d | 64 indices | 8 times: 4 times 7 signs, a scale
  def content(:iq3_xxs, blocks) do
    words = blocks |> bytes(66, 32) |> Mlx.bitcast(:u32)
    {signed(:iq3_xxs, bytes(blocks, 2, 64), signs(words)), scales(blocks, words >>> 28, 4), {:zero, @zero}}
  end

  # d | the low 8 bits of 64 indices | their high bit | 32 times 8 signs | 8 scales
  #
  # Elements are odd: with a sign they are twice an integer, less 15.
  def content(:iq3_s, blocks) do
    indices = wide(bytes(blocks, 2, 64), integers([{66, {8, 1}, 0..7, 1}], blocks))
    scales = integers([{106, {4, 1}, [0, 4], 4}], blocks)
    levels = (signed(:iq3_s, indices, bytes(blocks, 74, 32)) - (@zero - 15)) >>> 1
    {levels, scales(blocks, scales, 0.5), {:zero, 7.5}}
  end

  # d | the low 8 bits of 32 indices | 8 times, in 16 bits: 4 times their 3 high bits, a scale of 3 bits, the sign of 1/8
  def content(:iq1_s, %Array{shape: {count, _size}} = blocks) do
    words = blocks |> bytes(34, 16) |> Mlx.bitcast(:u16)
    indices = wide(bytes(blocks, 2, 32), threes(words))
    scales = floats(0, blocks) * odd(words >>> 12 &&& 7)
    zeros = Mlx.select(words >>> 15 == 0, 0.875, 1.125)
    {:iq1_s |> GGMLGrids.vectors() |> Mlx.take(indices) |> Mlx.reshape({count, 256}), scales, {:zero, zeros}}
  end

  # the low 8 bits of 32 indices | for each in 4 bits: its 3 high bits, the sign of 1/8 | 4 times, in 16 bits: 4 scales of 3
  # bits, 4 bits of d
  #
  # The element plus or minus 1/8 is an eighth of an integer, less 9.
  def content(:iq1_m, %Array{shape: {count, _size}} = blocks) do
    high = integers([{32, {16, 1}, [0, 4], 4}], blocks)
    words = blocks |> bytes(48, 8) |> Mlx.bitcast(:u16)
    d = Mlx.sum((words >>> 12) <<< Mlx.array([0, 4, 8, 12], type: :u16), axes: [1], keep_axes: true)
    d = d |> Mlx.as_type(:u16) |> Mlx.bitcast(:f16) |> Mlx.as_type(:f32)
    elements = :iq1_s |> GGMLGrids.vectors() |> Mlx.take(wide(bytes(blocks, 0, 32), high &&& 7))
    levels = (elements <<< 3) + Mlx.new_axis(Mlx.select((high &&& 8) == 0, eighths(2), eighths(0)), 2)
    {Mlx.reshape(levels, {count, 256}), Mlx.repeat(d * odd(threes(words)) * 0.125, 2, axis: 1), {:zero, 9}}
  end

  defp eighths(number), do: Mlx.array(number, type: :u8)

  # 8 times two words of 32 bits: the 4 bytes of the first ones, and the second ones.
  defp halves(%Array{shape: {count, _size}} = blocks) do
    both = blocks |> bytes(2, 64) |> Mlx.reshape({count, 8, 8})
    first = both |> Mlx.slice([0, 0, 0], [count, 8, 4]) |> Mlx.reshape({count, 32})
    {first, both |> Mlx.slice([0, 0, 4], [count, 8, 4]) |> Mlx.bitcast(:u32) |> Mlx.reshape({count, 8})}
  end

  # 9 to 11 bits.
  defp wide(low, high), do: Mlx.as_type(low, :u16) ||| Mlx.as_type(high, :u16) <<< 8

  # 4 times 3 bits of each word.
  defp threes(%Array{shape: {count, size}} = words) do
    parts = Mlx.new_axis(words, 2) >>> Mlx.array([0, 3, 6, 9], type: :u16) &&& 7
    Mlx.reshape(parts, {count, size * 4})
  end

  defp odd(scales), do: Mlx.as_type(scales, :f32) * 2 + 1
  defp scales(blocks, scales, divisor), do: floats(0, blocks) * odd(scales) * (1 / divisor)

  # 4 times 7 bits of each word, each with an eighth bit.
  defp signs(%Array{shape: {count, size}} = words) do
    parts = Mlx.new_axis(words, 2) >>> Mlx.array([0, 7, 14, 21], type: :u32) &&& 127
    parts |> Mlx.reshape({count, size * 4}) |> Mlx.as_type(:u8) |> with_parity()
  end

  # The eighth bit makes the count of those that are set even.
  defp with_parity(bits) do
    bits ||| Enum.reduce([4, 2, 1], bits, fn shift, bits -> Mlx.bitwise_xor(bits, bits >>> shift) end) <<< 7
  end

  # The elements of the vectors, with `@zero` added, of which each has a bit that says whether it is negative.
  defp signed(grid, indices, %Array{shape: {count, _bytes}} = signs) do
    elements = grid |> GGMLGrids.vectors() |> Mlx.take(indices) |> Mlx.reshape({count, 32, 8})
    negative = Mlx.new_axis(signs, 2) >>> Mlx.array([0, 1, 2, 3, 4, 5, 6, 7], type: :u8) &&& 1
    Mlx.reshape(Mlx.select(negative == 1, @zero - elements, elements + @zero), {count, 256})
  end
end
