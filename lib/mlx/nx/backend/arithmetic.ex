if Code.ensure_loaded?(Nx) do
  defmodule Mlx.Nx.Backend.Arithmetic do
    @moduledoc false
    # Operations on two numbers.

    import Mlx.Nx.Backend.Conversion, only: [cast: 2, type: 1]
    import Mlx.Nx.Backend.MixedSigns, only: [is_mixed: 2]
    import Mlx.Nx.Backend.Promotion, only: [alike: 2, alike: 3]

    alias Mlx.{Array, Native, Type}
    alias Mlx.Nx.Backend.MixedSigns
    alias Nx.Tensor

    @natives [
      add: :add,
      subtract: :subtract,
      multiply: :multiply,
      divide: :divide,
      pow: :power,
      min: :minimum,
      max: :maximum
    ]

    # These give the same bits in all types of one size, the others below do not.
    for name <- [:min, :max, :quotient, :remainder] do
      def unquote(name)(_out, a, b) when is_mixed(a, b), do: MixedSigns.unquote(name)(a, b)
    end

    def divide(out, a, b) when is_mixed(a, b) do
      type = type(out)
      Native.divide(cast(a, type), cast(b, type), nil)
    end

    def pow(_out, a, %Array{type: :u64} = b) when is_mixed(a, b), do: a |> cast(:u64) |> Native.power(b, nil)

    for {name, native} <- @natives do
      @spec unquote(name)(Tensor.t(), Array.t(), Array.t()) :: Array.t()
      def unquote(name)(out, a, b) do
        {a, b} = alike(out, a, b)
        Native.unquote(native)(a, b, nil)
      end
    end

    @spec atan2(Tensor.t(), Array.t(), Array.t()) :: Array.t()
    def atan2(out, a, b) when is_mixed(a, b) do
      type = type(out)
      Native.arctan2(cast(a, type), cast(b, type), nil)
    end

    def atan2(_out, a, b) do
      {a, b} = alike(a, b)
      if a.type == :c64, do: complex_atan2(a, b), else: Native.arctan2(a, b, nil)
    end

    # There is an angle of real numbers only.
    defp complex_atan2(a, b) do
      real = for number <- [a, b], do: number |> Native.imag(nil) |> Native.equal(0, nil)
      angle = Native.arctan2(Native.real(a, nil), Native.real(b, nil), nil)
      real |> Enum.reduce(&Native.logical_and(&1, &2, nil)) |> Native.where(angle, :nan, nil)
    end

    # MLX rounds down, and Nx towards zero. There is a remainder where the two differ, and for it Nx has one more.
    @spec quotient(Tensor.t(), Array.t(), Array.t()) :: Array.t()
    def quotient(out, a, b) do
      {a, b} = alike(out, a, b)
      quotient = Native.floor_divide(a, b, nil)

      if Type.class(type(out)) == :signed do
        inexact = a |> Native.remainder(b, nil) |> Native.not_equal(0, nil)
        below_zero = a |> Native.less(0, nil) |> Native.not_equal(Native.less(b, 0, nil), nil)
        cut = below_zero |> Native.logical_and(inexact, nil) |> Native.logical_and(Native.not_equal(b, 0, nil), nil)
        Native.where(cut, Native.add(quotient, 1, nil), quotient, nil)
      else
        quotient
      end
    end

    # MLX gives the result the sign of the divisor, as Python does, and Nx that of the dividend, as C does.
    @spec remainder(Tensor.t(), Array.t(), Array.t()) :: Array.t()
    def remainder(out, a, b) do
      {a, b} = alike(out, a, b)

      case Type.class(type(out)) do
        :unsigned -> Native.remainder(a, b, nil)
        :signed -> integer_remainder(a, b)
        _float -> float_remainder(a, b)
      end
    end

    defp integer_remainder(a, b) do
      remainder = Native.remainder(a, b, nil)
      negative = Native.less(a, 0, nil)
      opposite = remainder |> Native.less(0, nil) |> Native.not_equal(negative, nil)
      inexact = Native.not_equal(remainder, 0, nil)
      by_zero = Native.equal(b, 0, nil)

      inexact
      |> Native.logical_and(opposite, nil)
      |> Native.logical_and(Native.logical_not(by_zero, nil), nil)
      |> Native.where(Native.subtract(remainder, b, nil), remainder, nil)
    end

    # Of positive numbers both are the same, and subtracting the divisor would round.
    defp float_remainder(a, b) do
      remainder = Native.remainder(Native.abs(a, nil), Native.abs(b, nil), nil)
      Native.where(Native.less(a, 0, nil), Native.negative(remainder, nil), remainder, nil)
    end
  end
end
