defmodule Mlx.IO.GGMLFields do
  @moduledoc false
  # Reads what a row of the table of `Mlx.IO.GGMLFormat` says of blocks, an array of bytes with a row for each.
  #
  # Integers of the type :u8 are
  #
  #   * a list of parts `{start, {rows, size}, shifts, bits}`, those with the low bits first. A part is `rows` times `size`
  #     bytes from `start` on. Each byte holds so many bits at each of the shifts: first come those at the first shift of
  #     all bytes of a row, then those at the second, and so on.
  #   * `{:signed, start, count}`, bytes with a sign, which get too large by 128
  #   * `{:thirds, parts}`, `{start, size, count}`, bytes that hold `count` digits of base 3
  #   * `{:table, integers, indices}`, of which the indices are integers, too
  #   * `{:join, lists}`, one after the other
  #
  # Floating-point numbers become :f32. One of the type :f16 is told by its place; `{:e8m0, start, count}` and
  # `{:e4m3, start, count}` are bytes.

  use Mlx.Operators

  alias Mlx.Array
  alias Mlx.IO.GGMLFormat

  @doc "What blocks of a format hold."
  @spec content(map(), Array.t()) :: GGMLFormat.content()
  def content(%{levels: levels} = format, blocks) do
    {integers(levels, blocks), scales(format, blocks), offset(format, blocks)}
  end

  defp scales(%{d: d, by: {by, zero}}, blocks), do: floats(d, blocks) * (integers(by, blocks) - zero * 1.0)
  defp scales(%{d: d}, blocks), do: floats(d, blocks)

  defp offset(%{zero: zero}, _blocks), do: {:zero, zero}
  defp offset(%{plus: plus}, blocks), do: {:shift, floats(plus, blocks)}
  defp offset(%{minus: {d, by}}, blocks), do: {:shift, -(floats(d, blocks) * integers(by, blocks))}

  @doc "Integers of each block, an array with a row for each."
  @spec integers(list() | tuple(), Array.t()) :: Array.t()
  def integers({:signed, start, count}, blocks), do: blocks |> bytes(start, count) |> Mlx.bitwise_xor(0x80)

  def integers({:table, integers, indices}, blocks) do
    Mlx.take(Mlx.array(integers, type: :u8), integers(indices, blocks))
  end

  def integers({:join, lists}, blocks), do: lists |> Enum.map(&integers(&1, blocks)) |> Mlx.concatenate(axis: 1)

  # A byte is a fraction, in 256ths. Times 3, its whole part is the first digit, and what is left holds the others.
  def integers({:thirds, parts}, %Array{shape: {count, _size}} = blocks) do
    parts
    |> Enum.map(fn {start, size, digits} ->
      powers = Mlx.array(for(place <- 0..(digits - 1), do: [Integer.pow(3, place)]), type: :u8)
      Mlx.reshape(Mlx.new_axis(bytes(blocks, start, size), 1) * powers, {count, digits * size})
    end)
    |> Mlx.concatenate(axis: 1)
    |> Mlx.as_type(:u16)
    |> Mlx.multiply(3)
    |> Mlx.right_shift(8)
    |> Mlx.as_type(:u8)
  end

  def integers(parts, blocks) when is_list(parts) do
    {integers, _bits} =
      Enum.reduce(parts, {nil, 0}, fn {_start, _rows, _shifts, bits} = part, {low, below} ->
        high = part(part, blocks)
        {if(low, do: low ||| high <<< below, else: high), below + bits}
      end)

    integers
  end

  # As many bytes of a row as a word has are shifted at once, and what then is no part of them is masked.
  defp part({start, {rows, size}, shifts, bits}, %Array{shape: {count, _size}} = blocks) do
    {word, bytes} = word(size)
    mask = Mlx.array(repeated(Integer.pow(2, bits) - 1, bytes), type: word)
    words = blocks |> bytes(start, rows * size) |> Mlx.bitcast(word) |> Mlx.reshape({count, rows, div(size, bytes)})

    shifts
    |> Enum.map(&(words >>> &1 &&& mask))
    |> Mlx.stack(axis: 2)
    |> Mlx.reshape({count, rows * Enum.count(shifts) * div(size, bytes)})
    |> Mlx.bitcast(:u8)
  end

  defp word(size) when rem(size, 8) == 0, do: {:u64, 8}
  defp word(size) when rem(size, 4) == 0, do: {:u32, 4}
  defp word(_size), do: {:u8, 1}

  defp repeated(byte, count), do: Enum.reduce(1..count, 0, fn _index, all -> all * 256 + byte end)

  @doc "Floating-point numbers of each block, an array of the type `:f32` with a row for each."
  @spec floats(non_neg_integer() | tuple(), Array.t()) :: Array.t()
  def floats(start, blocks) when is_integer(start) do
    blocks |> bytes(start, 2) |> Mlx.bitcast(:f16) |> Mlx.as_type(:f32)
  end

  # Half of a power of two, as the numbers of the table are doubled. The first two have no exponent.
  def floats({:e8m0, start, count}, blocks) do
    exponents = blocks |> bytes(start, count) |> Mlx.as_type(:u32)
    normal = (max(exponents, 1) - 1) <<< 23
    Mlx.bitcast(Mlx.select(exponents < 2, 0x200000 <<< exponents, normal), :f32)
  end

  # Half of a number without a sign; the largest one stands for none, as there are no infinite ones.
  def floats({:e4m3, start, count}, blocks) do
    bytes = bytes(blocks, start, count)
    exponents = Mlx.as_type(bytes >>> 3 &&& 0x0F, :u32)
    fractions = Mlx.as_type(bytes &&& 0x07, :u32)
    normal = Mlx.bitcast((exponents + 119) <<< 23 ||| fractions <<< 20, :f32)
    numbers = Mlx.select(exponents == 0, Mlx.as_type(fractions, :f32) * 0.0009765625, normal)
    Mlx.select(bytes == 0x7F, 0.0, numbers)
  end

  @doc "The bytes of such numbers, as MLX takes them for scales: the one that stands for none is 0."
  @spec scale_bytes(tuple(), Array.t()) :: Array.t()
  def scale_bytes({:e8m0, start, count}, blocks), do: bytes(blocks, start, count)

  def scale_bytes({:e4m3, start, count}, blocks) do
    bytes = bytes(blocks, start, count) &&& 0x7F
    Mlx.select(bytes == 0x7F, Mlx.zeros_like(bytes), bytes)
  end

  @doc "So many bytes of each block from a place on."
  @spec bytes(Array.t(), non_neg_integer(), pos_integer()) :: Array.t()
  def bytes(%Array{shape: {count, _size}} = blocks, start, size), do: Mlx.slice(blocks, [0, start], [count, size])
end
