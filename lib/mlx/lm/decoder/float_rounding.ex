defmodule Mlx.LM.Decoder.FloatRounding do
  @moduledoc false
  # Numbers that are rounded to floats of 8 and 4 bits with a scale for each block, as models do that were trained with them.
  # What has no whole number of blocks stays as it is. Derivatives go through the rounding as if it were not there, as in the
  # training of such models (Bengio and others, 2013, "Estimating or propagating gradients").

  alias Mlx.Array

  @eights 448.0
  @fours 6.0

  # The smallest of a block that counts, and how a scale is rounded up.
  @scales %{power_of_two: 6.0 * 2.0 ** -126, e4m3: 6.0 * 2.0 ** -9}

  # Halfway between the numbers 0, 0.5, 1, 1.5, 2, 3, 4 and 6. A number in the middle goes to the one with an even last bit.
  @numbers [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0]
  @from_above [0.25, 1.25, 2.5, 5.0]
  @from_here [0.75, 1.75, 3.5]

  @doc "Floats of 8 bits (E4M3), with powers of two as scales of 32 numbers."
  @spec eights(Array.t()) :: Array.t()
  def eights(x) do
    by_blocks(x, 32, fn blocks ->
      scale = power_of_two(Mlx.divide(greatest(blocks, 1.0e-4), @eights))
      bounded = blocks |> Mlx.divide(scale) |> Mlx.clip(-@eights, @eights)
      bounded |> Mlx.to_fp8() |> Mlx.from_fp8(type: :f32) |> Mlx.multiply(scale)
    end)
  end

  @doc "Floats of 4 bits (E2M1), with scales of blocks of so many numbers: a `:power_of_two`, or a float of 8 bits, `:e4m3`."
  @spec fours(Array.t(), pos_integer(), :power_of_two | :e4m3) :: Array.t()
  def fours(x, block, scales) do
    by_blocks(x, block, fn blocks ->
      scale = scale(scales, Mlx.divide(greatest(blocks, @scales[scales]), @fours))
      blocks |> Mlx.divide(scale) |> Mlx.clip(-@fours, @fours) |> nearest() |> Mlx.multiply(scale)
    end)
  end

  defp scale(:power_of_two, x), do: power_of_two(x)
  defp scale(:e4m3, x), do: x |> Mlx.to_fp8() |> Mlx.from_fp8(type: :f32)

  defp power_of_two(x), do: Mlx.pow(2.0, Mlx.ceil(Mlx.log2(x)))

  defp greatest(blocks, least), do: blocks |> Mlx.abs() |> Mlx.reduce_max(axes: [-1], keep_axes: true) |> Mlx.max(least)

  defp nearest(x) do
    size = Mlx.abs(x)

    above =
      for({bounds, over} <- [{@from_above, &Mlx.greater/2}, {@from_here, &Mlx.greater_equal/2}], bound <- bounds) do
        size |> over.(bound) |> Mlx.as_type(:s32)
      end

    @numbers |> Mlx.array(type: :f32) |> Mlx.take(Enum.reduce(above, &Mlx.add/2)) |> Mlx.multiply(Mlx.sign(x))
  end

  defp by_blocks(%Array{shape: shape, type: type} = x, block, rounded) do
    if rem(Mlx.axis_size(x, -1), block) == 0 do
      of_blocks = fn x ->
        x |> Mlx.as_type(:f32) |> Mlx.reshape({:auto, block}) |> rounded.() |> Mlx.reshape(shape) |> Mlx.as_type(type)
      end

      Mlx.custom_function(of_blocks, vjp: fn [_x], cotangent, _rounded -> [cotangent] end).(x)
    else
      x
    end
  end
end
