defmodule Mlx.Ops.Elementwise.Unary do
  @moduledoc false

  use Mlx.Ops.Topic, title: "Functions of each element"
  use Mlx.Ops.Operation

  @doc """
  The absolute value, `|x|`. That of a complex number is its distance from zero, of type `:f32`.

      iex> Mlx.abs(Mlx.array([-1.5, 0.0, 2.0]))
      #Mlx.Array<
        f32[3]
        [1.5, 0.0, 2.0]
      >

  Python: `mlx.core.abs`.
  """
  operation abs(array)

  @doc """
  The negative, `-x`. Unsigned integers wrap around.

  Raises an `Mlx.Error` for `:bool`: see `logical_not/1`.

      iex> Mlx.negate(Mlx.array([1, -2]))
      #Mlx.Array<
        s32[2]
        [-1, 2]
      >

  Python: `mlx.core.negative`.
  """
  operation negate(array), :negative

  @doc """
  The array itself: `+x`.

      iex> Mlx.positive(Mlx.array([1, -2]))
      #Mlx.Array<
        s32[2]
        [1, -2]
      >

  Python: `mlx.core.positive`.
  """
  operation positive(array)

  @doc """
  The sign: -1, 0 or 1 in the type of the array, `x / |x|` for complex numbers.

      iex> Mlx.sign(Mlx.array([-2.5, 0.0, 3.0]))
      #Mlx.Array<
        f32[3]
        [-1.0, 0.0, 1.0]
      >

  Python: `mlx.core.sign`.
  """
  operation sign(array)

  @doc """
  The square, `x²`.

      iex> Mlx.square(Mlx.array([1, 2, -3]))
      #Mlx.Array<
        s32[3]
        [1, 4, 9]
      >

  Python: `mlx.core.square`.
  """
  operation square(array)

  @doc """
  The square root. That of a negative number is NaN. Integers become `:f32`.

      iex> Mlx.sqrt(Mlx.array([4.0, 9.0]))
      #Mlx.Array<
        f32[2]
        [2.0, 3.0]
      >

  Python: `mlx.core.sqrt`.
  """
  operation sqrt(array)

  @doc """
  One over the square root, `1 / √x`. Integers become `:f32`.

      iex> Mlx.rsqrt(Mlx.array([4.0, 16.0]))
      #Mlx.Array<
        f32[2]
        [0.5, 0.25]
      >

  Python: `mlx.core.rsqrt`.
  """
  operation rsqrt(array)

  @doc """
  One over the number, `1 / x`. Integers become `:f32`.

      iex> Mlx.reciprocal(Mlx.array([2.0, 4.0]))
      #Mlx.Array<
        f32[2]
        [0.5, 0.25]
      >

  Python: `mlx.core.reciprocal`.
  """
  operation reciprocal(array)

  @doc """
  The exponential, `eˣ`. Integers become `:f32`.

      iex> Mlx.exp(Mlx.array([0.0, -1000.0]))
      #Mlx.Array<
        f32[2]
        [1.0, 0.0]
      >

  Python: `mlx.core.exp`.
  """
  operation_in_double exp(array)

  @doc """
  The exponential less one, `eˣ - 1`, which is precise near zero. Integers become `:f32`.

      iex> Mlx.expm1(Mlx.array([0.0, -1000.0]))
      #Mlx.Array<
        f32[2]
        [0.0, -1.0]
      >

  Python: `mlx.core.expm1`.
  """
  operation_in_double expm1(array)

  @doc """
  The natural logarithm. That of 0 is minus infinity, that of a negative number NaN. Integers become `:f32`.

      iex> Mlx.log(Mlx.array([1.0, 0.0]))
      #Mlx.Array<
        f32[2]
        [0.0, -Inf]
      >

  Python: `mlx.core.log`.
  """
  operation log(array)

  @doc """
  The natural logarithm of the number plus one, `log(1 + x)`, which is precise near zero. Integers become `:f32`.

      iex> Mlx.log1p(Mlx.array([0.0, -1.0]))
      #Mlx.Array<
        f32[2]
        [0.0, -Inf]
      >

  Python: `mlx.core.log1p`.
  """
  operation log1p(array)

  @doc """
  The logarithm to base 2. Integers become `:f32`.

      iex> Mlx.log2(Mlx.array([1.0, 2.0]))
      #Mlx.Array<
        f32[2]
        [0.0, 1.0]
      >

  Python: `mlx.core.log2`.
  """
  operation_in_double log2(array)

  @doc """
  The logarithm to base 10. Integers become `:f32`.

      iex> Mlx.log10(Mlx.array([1.0, 0.0]))
      #Mlx.Array<
        f32[2]
        [0.0, -Inf]
      >

  Python: `mlx.core.log10`.
  """
  operation_in_double log10(array)

  @doc """
  The sine of an angle in radians. Integers become `:f32`.

      iex> Mlx.sin(Mlx.array([0.0]))
      #Mlx.Array<
        f32[1]
        [0.0]
      >

  Python: `mlx.core.sin`.
  """
  operation_in_double sin(array)

  @doc """
  The cosine of an angle in radians. Integers become `:f32`.

      iex> Mlx.cos(Mlx.array([0.0]))
      #Mlx.Array<
        f32[1]
        [1.0]
      >

  Python: `mlx.core.cos`.
  """
  operation_in_double cos(array)

  @doc """
  The tangent of an angle in radians. Integers become `:f32`.

      iex> Mlx.tan(Mlx.array([0.0]))
      #Mlx.Array<
        f32[1]
        [0.0]
      >

  Python: `mlx.core.tan`.
  """
  operation_in_double tan(array)

  @doc """
  The inverse sine, in radians; NaN outside -1 to 1. Integers become `:f32`.

      iex> Mlx.asin(Mlx.array([0.0]))
      #Mlx.Array<
        f32[1]
        [0.0]
      >

  Python: `mlx.core.arcsin`, `mlx.core.asin`.
  """
  operation asin(array), :arcsin

  @doc """
  The inverse cosine, in radians; NaN outside -1 to 1. Integers become `:f32`.

      iex> Mlx.acos(Mlx.array([1.0]))
      #Mlx.Array<
        f32[1]
        [0.0]
      >

  Python: `mlx.core.arccos`, `mlx.core.acos`.
  """
  operation acos(array), :arccos

  @doc """
  The inverse tangent, in radians. Integers become `:f32`.

      iex> Mlx.atan(Mlx.array([0.0]))
      #Mlx.Array<
        f32[1]
        [0.0]
      >

  Python: `mlx.core.arctan`, `mlx.core.atan`.
  """
  operation atan(array), :arctan

  @doc """
  The hyperbolic sine. Integers become `:f32`.

      iex> Mlx.sinh(Mlx.array([0.0]))
      #Mlx.Array<
        f32[1]
        [0.0]
      >

  Python: `mlx.core.sinh`.
  """
  operation sinh(array)

  @doc """
  The hyperbolic cosine. Integers become `:f32`.

      iex> Mlx.cosh(Mlx.array([0.0]))
      #Mlx.Array<
        f32[1]
        [1.0]
      >

  Python: `mlx.core.cosh`.
  """
  operation cosh(array)

  @doc """
  The hyperbolic tangent. Integers become `:f32`.

      iex> Mlx.tanh(Mlx.array([0.0]))
      #Mlx.Array<
        f32[1]
        [0.0]
      >

  Python: `mlx.core.tanh`.
  """
  operation tanh(array)

  @doc """
  The inverse hyperbolic sine. Integers become `:f32`.

      iex> Mlx.asinh(Mlx.array([0.0]))
      #Mlx.Array<
        f32[1]
        [0.0]
      >

  Python: `mlx.core.arcsinh`, `mlx.core.asinh`.
  """
  operation asinh(array), :arcsinh

  @doc """
  The inverse hyperbolic cosine; NaN below 1. Integers become `:f32`.

      iex> Mlx.acosh(Mlx.array([1.0]))
      #Mlx.Array<
        f32[1]
        [0.0]
      >

  Python: `mlx.core.arccosh`, `mlx.core.acosh`.
  """
  operation acosh(array), :arccosh

  @doc """
  The inverse hyperbolic tangent; NaN outside -1 to 1. Integers become `:f32`.

      iex> Mlx.atanh(Mlx.array([0.0]))
      #Mlx.Array<
        f32[1]
        [0.0]
      >

  Python: `mlx.core.arctanh`, `mlx.core.atanh`.
  """
  operation atanh(array), :arctanh

  @doc """
  Radians in degrees, `180 x / π`. Integers become `:f32`.

      iex> Mlx.degrees(Mlx.array([0.0]))
      #Mlx.Array<
        f32[1]
        [0.0]
      >

  Python: `mlx.core.degrees`.
  """
  operation degrees(array)

  @doc """
  Degrees in radians, `π x / 180`. Integers become `:f32`.

      iex> Mlx.radians(Mlx.array([0.0]))
      #Mlx.Array<
        f32[1]
        [0.0]
      >

  Python: `mlx.core.radians`.
  """
  operation radians(array)

  @doc """
  The logistic function, `1 / (1 + e⁻ˣ)`. Integers become `:f32`.

      iex> Mlx.sigmoid(Mlx.array([0.0]))
      #Mlx.Array<
        f32[1]
        [0.5]
      >

  Python: `mlx.core.sigmoid`.
  """
  operation_in_double sigmoid(array)

  @doc """
  The error function, `2 / √π ∫₀ˣ exp(-t²) dt`. Integers become `:f32`.

      iex> Mlx.erf(Mlx.array([-6.0, 6.0])) |> Mlx.to_list()
      [-1.0, 1.0]

  Python: `mlx.core.erf`.
  """
  operation_in_double erf(array)

  @doc """
  The inverse of the error function; NaN outside -1 to 1. Integers become `:f32`.

      iex> Mlx.erf_inv(Mlx.array([0.0]))
      #Mlx.Array<
        f32[1]
        [0.0]
      >

  Python: `mlx.core.erfinv`.
  """
  operation_in_double erf_inv(array), :erfinv

  @doc """
  The greatest whole number that is not above. Integers stay as they are.

      iex> Mlx.floor(Mlx.array([1.5, -1.5]))
      #Mlx.Array<
        f32[2]
        [1.0, -2.0]
      >

  Python: `mlx.core.floor`.
  """
  operation floor(array)

  @doc """
  The least whole number that is not below. Integers stay as they are.

      iex> Mlx.ceil(Mlx.array([1.5, -1.5]))
      #Mlx.Array<
        f32[2]
        [2.0, -1.0]
      >

  Python: `mlx.core.ceil`.
  """
  operation ceil(array)

  @doc """
  The whole number towards zero. Integers stay as they are.

      iex> Mlx.trunc(Mlx.array([1.5, -1.5]))
      #Mlx.Array<
        f32[2]
        [1.0, -1.0]
      >

  Python: `mlx.core.trunc`.
  """
  operation trunc(array)

  @doc """
  The complex conjugate. Real numbers stay as they are.

      iex> Mlx.conjugate(Mlx.array([{1.0, 2.0}]))
      #Mlx.Array<
        c64[1]
        [1.0-2.0i]
      >

  Python: `mlx.core.conjugate`, `mlx.core.conj`.
  """
  operation conjugate(array)

  @doc """
  The real part of complex numbers, as `:f32`. Real numbers stay as they are.

      iex> Mlx.real(Mlx.array([{1.0, 2.0}]))
      #Mlx.Array<
        f32[1]
        [1.0]
      >

  Python: `mlx.core.real`.
  """
  operation real(array)

  @doc """
  The imaginary part of complex numbers, as `:f32`. That of real numbers is zero.

      iex> Mlx.imag(Mlx.array([{1.0, 2.0}]))
      #Mlx.Array<
        f32[1]
        [2.0]
      >

  Python: `mlx.core.imag`.
  """
  operation imag(array)

  @doc """
  The nearest number with a given number of decimal digits, by default the nearest whole number. A half goes to the even
  one.

      iex> Mlx.round(Mlx.array([0.5, 1.5, -2.5]))
      #Mlx.Array<
        f32[3]
        [0.0, 2.0, -2.0]
      >
      iex> Mlx.round(Mlx.array([1234]), decimals: -2)
      #Mlx.Array<
        s32[1]
        [1200]
      >

  Options: `:decimals` (default 0, may be negative), `:stream`.

  Python: `mlx.core.round`.
  """
  @spec round(Mlx.Array.operand(), keyword()) :: Mlx.Array.t()
  def round(array, options \\ []) do
    [decimals, stream] = Mlx.Arguments.Options.values(options, :round, decimals: 0)
    Mlx.Native.round(array, decimals, stream)
  end
end
