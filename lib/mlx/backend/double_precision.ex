if Code.ensure_loaded?(Nx) do
  defmodule Mlx.Backend.DoublePrecision do
    @moduledoc false
    # MLX computes some functions of `:f64` with the polynomials of `:f32`. Here they are made of those that it computes in full.

    alias Mlx.{Array, Native}
    alias Mlx.Backend.ErrorFunction

    # A power of the number next to e, whose logarithm lacks this to 1.
    @base :math.exp(1)
    @lack 5.318237706605891e-17

    # Far below 0, where the power is 0, the bound keeps minus infinity out of the product.
    @spec exp(Array.t()) :: Array.t()
    def exp(array) do
      rest = array |> Native.maximum(-1000, nil) |> Native.multiply(@lack, nil) |> Native.add(1, nil)
      @base |> Native.scalar(:f64) |> Native.power(array, nil) |> Native.multiply(rest, nil)
    end

    @spec sigmoid(Array.t()) :: Array.t()
    def sigmoid(array), do: array |> Native.negative(nil) |> exp() |> Native.add(1, nil) |> Native.reciprocal(nil)

    @spec sin(Array.t()) :: Array.t()
    def sin(array) do
      tangent = half_tangent(array)
      Native.divide(Native.multiply(tangent, 2, nil), tangent |> Native.square(nil) |> Native.add(1, nil), nil)
    end

    # The tangent gives the size, also where it is next to nothing, and has the sign of the sine where that of the cosine is
    # positive. The tangent of half the angle has the sign of the sine.
    @spec cos(Array.t()) :: Array.t()
    def cos(array) do
      tangent = Native.tan(array, nil)
      size = tangent |> Native.square(nil) |> Native.add(1, nil) |> Native.sqrt(nil) |> Native.reciprocal(nil)
      negative = array |> half_tangent() |> Native.multiply(tangent, nil) |> Native.less(0, nil)
      Native.where(negative, Native.negative(size, nil), size, nil)
    end

    defp half_tangent(array), do: array |> Native.multiply(0.5, nil) |> Native.tan(nil)

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
