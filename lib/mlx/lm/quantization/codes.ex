defmodule Mlx.LM.Quantization.Codes do
  @moduledoc false
  # Numbers in MLX's affine form, code * scale + bias, by codes that somebody else than `Mlx.quantize/2` chooses.
  #
  # Codes are one string of bits, from the lowest of a word on. So 32 codes are as many words as a code has bits.

  alias Mlx.Array

  @typedoc "Scales and biases, of one shape."
  @type grid :: {Array.t(), Array.t()}

  @doc "The scales and biases `{rows, groups}` that MLX takes for a matrix, rounded to a type, in `:f32`."
  @spec grid(Array.t(), keyword(), Mlx.Type.t()) :: grid()
  def grid(matrix, settings, type) do
    {_codes, scales, biases} = Mlx.quantize(matrix, Keyword.take(settings, [:group_size, :bits, :mode]))
    {rounded(scales, type), rounded(biases, type)}
  end

  defp rounded(array, type), do: array |> Mlx.as_type(type) |> Mlx.as_type(:f32)

  @doc "The codes of numbers that are nearest on a grid, as floats."
  @spec nearest(Array.t(), grid(), pos_integer()) :: Array.t()
  def nearest(numbers, {scales, biases}, bits) do
    numbers |> Mlx.subtract(biases) |> Mlx.divide(scales) |> Mlx.round() |> Mlx.clip(0, Bitwise.bsl(1, bits) - 1)
  end

  @doc "The numbers of codes."
  @spec numbers(Array.t(), grid()) :: Array.t()
  def numbers(codes, {scales, biases}), do: codes |> Mlx.multiply(scales) |> Mlx.add(biases)

  @doc "The words `{rows, columns * bits / 32}` of codes `{rows, columns}`."
  @spec packed(Array.t(), pos_integer()) :: Array.t()
  def packed(%Array{shape: {rows, columns}} = codes, bits) do
    places = codes |> Mlx.as_type(:u32) |> Mlx.reshape({rows, div(columns, 32), 32}) |> Mlx.unstack(axis: 2)

    words =
      for word <- 0..(bits - 1) do
        for {code, place} <- Enum.with_index(places), first = place * bits - 32 * word, first > -bits, first < 32 do
          if first >= 0, do: Mlx.left_shift(code, shift(first)), else: Mlx.right_shift(code, shift(-first))
        end
        |> Enum.reduce(&Mlx.bitwise_or/2)
      end

    words |> Mlx.stack(axis: 2) |> Mlx.reshape({rows, div(columns * bits, 32)})
  end

  @doc "The codes `{..., columns}` of words."
  @spec unpacked(Array.t(), pos_integer()) :: Array.t()
  def unpacked(%Array{shape: shape} = words, bits) do
    last = tuple_size(shape) - 1
    groups = div(elem(shape, last), bits)
    words = words |> Mlx.reshape({div(Tuple.product(shape), bits), bits}) |> Mlx.unstack(axis: 1)
    most = Mlx.array(Bitwise.bsl(1, bits) - 1, type: :u32)

    codes =
      for place <- 0..31 do
        {word, first} = {div(place * bits, 32), rem(place * bits, 32)}
        low = words |> Enum.at(word) |> Mlx.right_shift(shift(first))
        high = if first + bits > 32, do: words |> Enum.at(word + 1) |> Mlx.left_shift(shift(32 - first))
        Mlx.bitwise_and(if(high, do: Mlx.bitwise_or(low, high), else: low), most)
      end

    codes |> Mlx.stack(axis: 1) |> Mlx.reshape(put_elem(shape, last, groups * 32))
  end

  defp shift(bits), do: Mlx.array(bits, type: :u32)
end
