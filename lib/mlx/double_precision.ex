defmodule Mlx.DoublePrecision do
  @moduledoc false
  # MLX computes some functions of `:f64` with the polynomials of `:f32`. Here they are made of those that it computes in full:
  # powers, tangents, logarithms, and sums.
  #
  # A derivative of such a composition would be that of what it is made of, where digits are lost again. So the values are
  # constants to transforms, and the derivatives come from how they change with `change(x)`, which is 0: MLX's own `exp`,
  # `sin` and `cos` are exact there, with all of their derivatives.

  alias Mlx.{Array, ErrorFunction, Native, Stream}

  @doc "What a function returns whose operations run on a stream; nil is that of the process."
  @spec on(Stream.t() | nil, (-> result)) :: result when result: var
  def on(nil, fun), do: fun.()
  def on(stream, fun), do: Stream.with_current(stream, fun)

  # A power of the number next to e, whose logarithm lacks this to 1.
  @base :math.exp(1)
  @lack 5.318237706605891e-17

  @spec exp(Array.t()) :: Array.t()
  def exp(array) do
    # Far below 0, where the power is 0, the bound keeps minus infinity out of the product.
    rest = array |> Native.maximum(-1000, nil) |> Native.multiply(@lack, nil) |> Native.add(1, nil)
    value = @base |> Native.scalar(:f64) |> Native.power(array, nil) |> Native.multiply(rest, nil)
    Native.multiply(constant(value), array |> change() |> Native.exp(nil), nil)
  end

  # Of a negative number by the exponential of itself, of others by that of the opposite: neither overflows.
  @spec sigmoid(Array.t()) :: Array.t()
  def sigmoid(array) do
    negative = Native.less(array, 0, nil)
    exponential = negative |> Native.where(array, Native.negative(array, nil), nil) |> exp()
    sum = Native.add(exponential, 1, nil)
    negative |> Native.where(exponential, 1, nil) |> Native.divide(sum, nil)
  end

  @spec sin(Array.t()) :: Array.t()
  def sin(array), do: rotated(array, sine(array), cosine(array))

  @spec cos(Array.t()) :: Array.t()
  def cos(array), do: rotated(array, cosine(array), Native.negative(sine(array), nil))

  # `value * cos(change) + slope * sin(change)`
  defp rotated(array, value, slope) do
    change = change(array)
    [cos, sin] = [Native.cos(change, nil), Native.sin(change, nil)]
    Native.add(Native.multiply(constant(value), cos, nil), Native.multiply(constant(slope), sin, nil), nil)
  end

  defp sine(array) do
    tangent = half_tangent(array)
    Native.divide(Native.multiply(tangent, 2, nil), tangent |> Native.square(nil) |> Native.add(1, nil), nil)
  end

  # The tangent gives the size, also where it is next to nothing, and has the sign of the sine where that of the cosine is
  # positive. The tangent of half the angle has the sign of the sine.
  defp cosine(array) do
    tangent = Native.tan(array, nil)
    size = tangent |> Native.square(nil) |> Native.add(1, nil) |> Native.sqrt(nil) |> Native.reciprocal(nil)
    negative = array |> half_tangent() |> Native.multiply(tangent, nil) |> Native.less(0, nil)
    Native.where(negative, Native.negative(size, nil), size, nil)
  end

  defp half_tangent(array), do: array |> Native.multiply(0.5, nil) |> Native.tan(nil)

  defdelegate erf(array), to: ErrorFunction

  # Two steps of Newton's method from the root in single precision.
  @spec erf_inv(Array.t()) :: Array.t()
  def erf_inv(array), do: array |> Native.erfinv(nil) |> closer(array) |> closer(array)

  defp closer(root, array) do
    excess = root |> ErrorFunction.erf() |> Native.subtract(array, nil)
    inverse_slope = root |> Native.square(nil) |> exp() |> Native.multiply(:math.sqrt(:math.pi()) / 2, nil)
    closer = Native.subtract(root, Native.multiply(excess, inverse_slope, nil), nil)
    Native.where(Native.isfinite(closer, nil), closer, root, nil)
  end

  # What the greater one is more than the sum of both: where it is not finite, it is the result.
  @spec logaddexp(Array.operand(), Array.operand()) :: Array.t()
  def logaddexp(%Array{type: :c64} = a, b), do: Native.logaddexp(a, b, nil)
  def logaddexp(a, %Array{type: :c64} = b), do: Native.logaddexp(a, b, nil)

  def logaddexp(a, b) do
    first = Native.greater_equal(a, b, nil)
    [greater, lesser] = [Native.where(first, a, b, nil), Native.where(first, b, a, nil)]
    finite = Native.isfinite(greater, nil)
    difference = Native.where(finite, Native.subtract(lesser, greater, nil), 0, nil)
    sum = Native.add(greater, difference |> exp() |> Native.log1p(nil), nil)
    Native.where(finite, sum, greater, nil)
  end

  @spec softmax(Array.t(), [integer()]) :: Array.t()
  def softmax(array, axes) do
    if empty?(array) do
      array
    else
      exponentials = array |> Native.subtract(greatest(array, axes), nil) |> exp()
      Native.divide(exponentials, Native.sum_axes(exponentials, axes, true, nil), nil)
    end
  end

  @spec logsumexp(Array.t(), [integer()], boolean()) :: Array.t()
  def logsumexp(array, axes, keep_axes) do
    if empty?(array) do
      # MLX says what is wrong.
      Native.logsumexp_axes(array, axes, keep_axes, nil)
    else
      greatest = greatest(array, axes)
      greatest = Native.where(Native.isfinite(greatest, nil), greatest, 0, nil)
      sum = array |> Native.subtract(greatest, nil) |> exp() |> Native.sum_axes(axes, true, nil)
      result = sum |> Native.log(nil) |> Native.add(greatest, nil)
      if keep_axes or axes == [], do: result, else: Native.squeeze_axes(result, axes, nil)
    end
  end

  defp empty?(%Array{shape: shape}), do: Tuple.product(shape) == 0

  defp greatest(array, axes), do: array |> Native.max_axes(axes, true, nil) |> constant()

  defp constant(array), do: Native.stop_gradient(array, nil)

  # 0, whose derivative is 1.
  defp change(array) do
    finite = Native.where(Native.isfinite(array, nil), array, 0, nil)
    Native.subtract(finite, constant(finite), nil)
  end
end
