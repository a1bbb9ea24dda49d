defmodule Mlx.Ops.DoublePrecision do
  @moduledoc false
  # MLX computes some functions of `:f64` with the polynomials of `:f32`. Here they are made of those that it computes in full:
  # powers, tangents, logarithms, and sums.
  #
  # A derivative of such a composition would be that of what it is made of, where digits are lost again. So the values are
  # constants to transforms, and the derivatives come from how they change with `change(x)`, which is -0: MLX's own `exp`,
  # `sin` and `cos` are exact there, with all of their derivatives.

  alias Mlx.{Array, Native, Stream}
  alias Mlx.Ops.ErrorFunction

  @doc "What a function returns whose operations run on a stream; nil is that of the process."
  @spec on(Stream.t() | nil, (-> result)) :: result when result: var
  def on(nil, fun), do: fun.()
  def on(stream, fun), do: Stream.with_current(stream, fun)

  # A power of the number next to e, whose logarithm lacks this to 1.
  @base :math.exp(1)
  @lack 5.318237706605891e-17

  @spec exp(Array.t()) :: Array.t()
  def exp(array), do: Native.multiply(exponential(array), array |> change() |> Native.exp(nil), nil)

  # The value alone. Far below 0, where the power is 0, the bound keeps minus infinity out of the product.
  defp exponential(array) do
    rest = array |> Native.maximum(-1000, nil) |> Native.multiply(@lack, nil) |> Native.add(1, nil)
    @base |> Native.scalar(:f64) |> Native.power(array, nil) |> Native.multiply(rest, nil) |> constant()
  end

  # `value + slope * expm1(change)` where the slope is small, and elsewhere the same with `value + 1` for it, which may be
  # infinite.
  @spec expm1(Array.t()) :: Array.t()
  def expm1(array) do
    value = constant(Native.expm1(array, nil))
    change = change(array)
    excess = Native.expm1(change, nil)
    slope = array |> Native.minimum(0, nil) |> exponential()
    of_negative = Native.add(value, Native.multiply(slope, excess, nil), nil)
    of_positive = value |> Native.multiply(Native.exp(change, nil), nil) |> Native.add(excess, nil)
    array |> Native.less(0, nil) |> Native.where(of_negative, of_positive, nil)
  end

  @spec log2(Array.t()) :: Array.t()
  def log2(array), do: array |> Native.log2(nil) |> constant() |> logarithm(array, 2)

  @spec log10(Array.t()) :: Array.t()
  def log10(array), do: array |> Native.log10(nil) |> constant() |> logarithm(array, 10)

  # MLX has the values in full, and for derivatives the logarithm of the base in single precision. It has derivatives of
  # the natural logarithm in full. Where the value is not finite, that would be the difference of two infinities.
  defp logarithm(value, array, base) do
    finite = Native.isfinite(value, nil)
    changing = finite |> Native.where(array, 1, nil) |> natural_logarithm(base)
    near = Native.add(value, Native.subtract(changing, constant(changing), nil), nil)
    Native.where(finite, near, natural_logarithm(array, base), nil)
  end

  defp natural_logarithm(array, base), do: array |> Native.log(nil) |> Native.divide(:math.log(base), nil)

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

  # `(value + tan(change)) / (1 - value * tan(change))`
  @spec tan(Array.t()) :: Array.t()
  def tan(array) do
    value = array |> Native.tan(nil) |> constant()
    change = array |> change() |> Native.tan(nil)
    rest = Native.subtract(1, Native.multiply(value, change, nil), nil)
    Native.divide(Native.add(value, change, nil), rest, nil)
  end

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
    # The greatest is NaN where one of them is.
    Native.where(finite, sum, Native.maximum(a, b, nil), nil)
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
      greatest = array |> greatest(axes) |> finite()
      sum = array |> Native.subtract(greatest, nil) |> exp() |> Native.sum_axes(axes, true, nil)
      result = sum |> Native.log(nil) |> Native.add(greatest, nil)
      if keep_axes or axes == [], do: result, else: Native.squeeze_axes(result, axes, nil)
    end
  end

  @spec cumulative_logsumexp(Array.t(), integer() | nil, boolean(), boolean()) :: Array.t()
  def cumulative_logsumexp(array, nil, reverse, inclusive) do
    array |> Native.flatten(0, -1, nil) |> cumulative_logsumexp(0, reverse, inclusive)
  end

  def cumulative_logsumexp(%Array{shape: shape} = array, axis, reverse, inclusive) do
    rank = tuple_size(shape)
    axis = if is_integer(axis) and axis < 0, do: axis + rank, else: axis

    if axis in 0..(rank - 1)//1 and elem(shape, axis) > 1 and is_boolean(reverse) and is_boolean(inclusive) do
      greatest = array |> constant() |> Native.cummax_axis(axis, reverse, true, nil) |> finite()
      exponentials = array |> Native.subtract(greatest, nil) |> exp()
      sums = running_sums(exponentials, greatest, axis, reverse, 1)
      result = sums |> Native.log(nil) |> Native.add(greatest, nil)
      if inclusive, do: result, else: result_before(result, axis, reverse)
    else
      # MLX adds nothing, or says what is wrong.
      Native.logcumsumexp_axis(array, axis, reverse, inclusive, nil)
    end
  end

  # Each element is the sum of `count` elements up to it, as a part of the greatest of all up to it, and becomes that of
  # twice as many.
  defp running_sums(%Array{shape: shape} = sums, _greatest, axis, _reverse, count) when count >= elem(shape, axis),
    do: sums

  defp running_sums(sums, greatest, axis, reverse, count) do
    {each, before, first} = apart(sums, axis, reverse, count)
    {greatest_of_each, greatest_before, _first} = apart(greatest, axis, reverse, count)
    # Only a 0 in the place of minus infinity is greater than one behind it.
    share = greatest_before |> Native.subtract(greatest_of_each, nil) |> Native.minimum(0, nil) |> exponential()
    more = before |> Native.multiply(share, nil) |> Native.add(each, nil)
    first |> joined(more, axis, reverse) |> running_sums(greatest, axis, reverse, 2 * count)
  end

  defp result_before(%Array{shape: shape} = result, axis, reverse) do
    {_each, before, _first} = apart(result, axis, reverse, 1)
    shape |> put_elem(axis, 1) |> Native.full(:neg_infinity, :f64, nil) |> joined(before, axis, reverse)
  end

  # The elements that have one `count` places before them, those before them, and the first elements, which have none.
  defp apart(%Array{shape: shape} = array, axis, reverse, count) do
    [left, from_left] = Native.split_sections(array, [count], axis, nil)
    [from_right, right] = Native.split_sections(array, [elem(shape, axis) - count], axis, nil)
    if reverse, do: {from_right, from_left, right}, else: {from_left, from_right, left}
  end

  defp joined(first, others, axis, false), do: Native.concatenate_axis([first, others], axis, nil)
  defp joined(first, others, axis, true), do: Native.concatenate_axis([others, first], axis, nil)

  defp empty?(%Array{shape: shape}), do: Tuple.product(shape) == 0

  defp greatest(array, axes), do: array |> Native.max_axes(axes, true, nil) |> constant()

  defp constant(array), do: Native.stop_gradient(array, nil)

  defp finite(array), do: array |> Native.isfinite(nil) |> Native.where(array, 0, nil)

  # -0, whose derivative is 1: added to a value, it keeps the sign of a zero.
  defp change(array) do
    finite = finite(array)
    finite |> constant() |> Native.subtract(finite, nil) |> Native.negative(nil)
  end
end
