defmodule Mlx.Differential.Values do
  @moduledoc """
  Random elements of a type, as bytes.

  | values | floating point | integers | booleans |
  | --- | --- | --- | --- |
  | `:any` | from -4 to 4, whole numbers, any bits, and the extremes | small, any bits, and the extremes | both |
  | `:finite` | from -4 to 4, and whole numbers | from -9 or 0 to 9 | both |
  | `:positive` | from 0.01 to 4 | from 1 to 9 | `true` |
  | `:divisor` | as `:any` | as `:any`, but not 0 and not -1, which end Python | `true` |
  | `:exponent` | as `:any` | from 0 to 6: a negative power of an integer means nothing | both |
  | `:shift` | as `:any` | from 0 to 7: C++ does not define longer shifts | both |
  | a range | from its ends | from its ends | both |
  """

  import Mlx.Differential.Draw

  alias Mlx.Type

  # Infinities, NaN, both zeros, the least and the greatest denormal number, the least normal and the greatest number.
  @extremes %{
    f16: [0x7C00, 0xFC00, 0x7E00, 0, 0x8000, 1, 0x03FF, 0x0400, 0x7BFF, 0xFBFF],
    bf16: [0x7F80, 0xFF80, 0x7FC0, 0, 0x8000, 1, 0x007F, 0x0080, 0x7F7F, 0xFF7F],
    f32: [0x7F800000, 0xFF800000, 0x7FC00000, 0, 0x80000000, 1, 0x007FFFFF, 0x00800000, 0x7F7FFFFF, 0xFF7FFFFF],
    f64:
      [0x7FF0000000000000, 0xFFF0000000000000, 0x7FF8000000000000, 0, 0x8000000000000000, 1, 0x000FFFFFFFFFFFFF] ++
        [0x0010000000000000, 0x7FEFFFFFFFFFFFFF, 0xFFEFFFFFFFFFFFFF]
  }

  @doc "The bytes of `count` elements."
  @spec bytes(Type.t(), non_neg_integer(), atom() | Range.t()) :: binary()
  def bytes(:c64, count, values), do: bytes(:f32, 2 * count, values)
  def bytes(type, count, values), do: for(_ <- 1..count//1, into: <<>>, do: element(type, Type.class(type), values))

  defp element(_type, :bool, values) when values in [:positive, :divisor], do: <<1>>
  defp element(_type, :bool, _values), do: <<one_of(0..1)>>

  defp element(type, class, :any) do
    case :rand.uniform(16) do
      1 -> extreme(type, class)
      2 -> :rand.bytes(Type.bytes(type))
      _ -> element(type, class, :finite)
    end
  end

  defp element(type, :float, values), do: float(type, real_of(values))
  defp element(type, class, values), do: <<integer(type, class, values)::native-size(Type.bits(type))>>

  defp extreme(type, :float), do: <<one_of(@extremes[type])::native-size(Type.bits(type))>>
  defp extreme(type, _class), do: <<one_of([Type.min(type), Type.max(type), 0])::native-size(Type.bits(type))>>

  defp real_of(:finite), do: if(chance?(4), do: one_of(-4..4) * 1.0, else: real(-4, 4))
  defp real_of(:positive), do: real(0.01, 4)
  defp real_of(low..high//_), do: real(low, high)
  defp real_of(_values), do: real_of(:finite)

  defp integer(_type, :signed, :finite), do: one_of(-9..9)
  defp integer(_type, :unsigned, :finite), do: one_of(0..9)
  defp integer(_type, _class, :positive), do: one_of(1..9)
  defp integer(_type, _class, :exponent), do: one_of(0..6)
  defp integer(_type, _class, :shift), do: one_of(0..7)
  defp integer(_type, _class, %Range{} = range), do: one_of(range)
  defp integer(type, :unsigned, :divisor), do: one_of([1, 2, 3, 7, Type.max(type)])
  defp integer(type, :signed, :divisor), do: one_of([1, 2, 3, 7, -2, -3, Type.max(type), Type.min(type)])

  # Half of the bits of an `:f32` are a `:bf16`.
  defp float(:bf16, number) do
    <<upper::16, _lower::16>> = <<number::float-32>>
    <<upper::native-16>>
  end

  defp float(type, number), do: <<number::float-native-size(Type.bits(type))>>
end
