defmodule Mlx.LM.Imported.Affine do
  @moduledoc false
  # A matrix of integers with a scale and a zero point for each group of columns, (code - zero) * scale, in MLX's affine form,
  # code * scale + bias.
  #
  # Codes are packed in words from the lowest bits on, so that a word of 4-bit codes holds eight columns.

  alias Mlx.{Array, Type}
  alias Mlx.LM.Imported

  # The sizes of groups that MLX has, the largest first.
  @sizes [128, 64, 32]

  @doc """
  The matrix of packed codes `{rows, columns * bits / 32}`, scales `{rows, groups}`, and zero points of the same shape, or
  one number.

  Groups that are larger than MLX's become several with the same scale. It gives numbers where they are smaller, or where
  columns do not fill them.
  """
  @spec matrix(Array.t(), pos_integer(), Array.t(), Array.t() | number(), Type.t() | nil) :: Imported.matrix()
  def matrix(%Array{shape: {_rows, words}} = packed, bits, %Array{shape: {_, groups}} = scales, zeros, type) do
    columns = div(words * 32, bits)
    type = type || scales.type

    case size(columns, groups) do
      nil ->
        numbers(codes(packed, bits), each(scales, columns), each(zeros, columns), type)

      size ->
        wide = Mlx.as_type(scales, :f32)
        times = div(columns, groups * size)

        %{
          weight: packed,
          scales: wide |> repeated(times) |> Mlx.as_type(type),
          biases: wide |> Mlx.multiply(zeros) |> Mlx.negate() |> repeated(times) |> Mlx.as_type(type)
        }
    end
  end

  defp size(columns, groups) do
    if rem(columns, groups) == 0, do: Enum.find(@sizes, &(rem(div(columns, groups), &1) == 0))
  end

  defp repeated(array, 1), do: array
  defp repeated(array, times), do: Mlx.repeat(array, times, axis: 1)

  # The scale or zero point of each column. The last group may have fewer columns than others.
  defp each(%Array{shape: {rows, groups}} = array, columns) do
    array |> Mlx.repeat(div(columns + groups - 1, groups), axis: 1) |> Mlx.slice([0, 0], [rows, columns])
  end

  defp each(number, _columns), do: number

  @doc "The numbers of codes, with a scale and a zero point for each."
  @spec numbers(Array.t(), Array.t(), Array.t() | number(), Type.t()) :: Array.t()
  def numbers(codes, scales, zeros, type) do
    codes |> Mlx.as_type(:f32) |> Mlx.subtract(zeros) |> Mlx.multiply(Mlx.as_type(scales, :f32)) |> Mlx.as_type(type)
  end

  @doc "The codes `{rows, columns}` of words `{rows, columns * bits / 32}`; `order` says which place each column has in a word."
  @spec codes(Array.t(), pos_integer(), [non_neg_integer()] | nil) :: Array.t()
  def codes(%Array{shape: {rows, words}} = packed, bits, order \\ nil) do
    order = order || Enum.to_list(0..(div(32, bits) - 1))
    places = Mlx.array(for(place <- order, do: place * bits), type: :u32)

    packed
    |> words()
    |> Mlx.new_axis(2)
    |> Mlx.right_shift(places)
    |> Mlx.bitwise_and(Mlx.array(Bitwise.bsl(1, bits) - 1, type: :u32))
    |> Mlx.reshape({rows, words * length(order)})
  end

  @doc "The words of codes `{rows, columns}`."
  @spec packed(Array.t(), pos_integer()) :: Array.t()
  def packed(%Array{shape: {rows, columns}} = codes, bits) do
    count = div(32, bits)
    places = Mlx.array(for(place <- 0..(count - 1), do: place * bits), type: :u32)

    codes
    |> Mlx.as_type(:u32)
    |> Mlx.reshape({rows, div(columns, count), count})
    |> Mlx.left_shift(places)
    |> Mlx.sum(axes: [2])
    |> Mlx.as_type(:u32)
  end

  @doc "Signed words as unsigned ones."
  @spec words(Array.t()) :: Array.t()
  def words(%Array{type: :u32} = array), do: array
  def words(%Array{type: :s32} = array), do: Mlx.bitcast(array, :u32)
end
