if Code.ensure_loaded?(Nx) do
  defmodule Mlx.Backend.DoublePrecision do
    @moduledoc false
    # MLX computes some functions of `:f64` with the polynomials of `:f32`. Here they are made of those that it computes in full.

    alias Mlx.{Array, Native}
    alias Mlx.Backend.ErrorFunction

    # No digit is lost on the side of positive numbers.
    @spec exp(Array.t()) :: Array.t()
    def exp(array) do
      positive = array |> Native.abs(nil) |> Native.expm1(nil) |> Native.add(1, nil)
      Native.where(Native.less(array, 0, nil), Native.reciprocal(positive, nil), positive, nil)
    end

    @spec sigmoid(Array.t()) :: Array.t()
    def sigmoid(array), do: array |> Native.negative(nil) |> exp() |> Native.add(1, nil) |> Native.reciprocal(nil)

    # By the tangent of half the angle.

    @spec sin(Array.t()) :: Array.t()
    def sin(array) do
      {tangent, square} = half_tangent(array)
      Native.divide(Native.multiply(tangent, 2, nil), Native.add(square, 1, nil), nil)
    end

    @spec cos(Array.t()) :: Array.t()
    def cos(array) do
      {_tangent, square} = half_tangent(array)
      Native.divide(Native.subtract(1, square, nil), Native.add(square, 1, nil), nil)
    end

    defp half_tangent(array) do
      tangent = array |> Native.multiply(0.5, nil) |> Native.tan(nil)
      {tangent, Native.square(tangent, nil)}
    end

    # Two steps of Newton's method from the root in single precision.
    @spec erf_inv(Array.t()) :: Array.t()
    def erf_inv(array), do: array |> Native.erfinv(nil) |> closer(array) |> closer(array)

    defp closer(root, array) do
      excess = root |> ErrorFunction.erf() |> Native.subtract(array, nil)
      inverse_slope = root |> Native.square(nil) |> exp() |> Native.multiply(:math.sqrt(:math.pi()) / 2, nil)
      closer = Native.subtract(root, Native.multiply(excess, inverse_slope, nil), nil)
      Native.where(Native.isfinite(closer, nil), closer, root, nil)
    end
  end
end
