defmodule Mlx.Fast.DoublePrecision do
  @moduledoc false
  # MLX computes these of `:f64` in `:f32`, or in part. Here they are made of operations that have all digits.

  alias Mlx.{Array, Native, Type}
  alias Mlx.Ops.DoublePrecision

  @spec rms_norm(Array.t(), Array.t() | nil, number()) :: Array.t()
  def rms_norm(x, weight, eps), do: x |> Native.astype(:f64, nil) |> normal(eps) |> scaled(weight)

  @spec layer_norm(Array.t(), Array.t() | nil, Array.t() | nil, number()) :: Array.t()
  def layer_norm(x, weight, bias, eps) do
    wide = Native.astype(x, :f64, nil)
    centred = Native.subtract(wide, Native.mean_axis(wide, -1, true, nil), nil)
    scaled = centred |> normal(eps) |> scaled(weight)
    if bias, do: Native.add(scaled, bias, nil), else: scaled
  end

  defp normal(array, eps) do
    size = array |> Native.square(nil) |> Native.mean_axis(-1, true, nil) |> Native.add(eps, nil) |> Native.sqrt(nil)
    Native.divide(array, size, nil)
  end

  defp scaled(array, nil), do: array
  defp scaled(array, weight), do: Native.multiply(array, weight, nil)

  # The pairs of features are along one axis, and what is paired along another.
  @spec rope(Array.t(), pos_integer(), keyword()) :: Array.t()
  def rope(x, dimensions, options) do
    half = div(dimensions, 2)
    {sizes, axis} = if options[:traditional], do: {{half, 2}, -1}, else: {{2, half}, -2}
    [rotated, rest] = Native.split_sections(x, [dimensions], -1, nil)
    pairs = rotated |> Native.unflatten(-1, sizes, nil) |> Native.split(2, axis, nil)
    [first, second] = for part <- pairs, do: Native.squeeze_axis(part, axis, nil)

    angles = angles(x, half, options)
    [cos, sin] = [DoublePrecision.cos(angles), DoublePrecision.sin(angles)]
    turned_first = Native.subtract(Native.multiply(first, cos, nil), Native.multiply(second, sin, nil), nil)
    turned_second = Native.add(Native.multiply(first, sin, nil), Native.multiply(second, cos, nil), nil)
    turned = [turned_first, turned_second] |> Native.stack_axis(axis, nil) |> Native.flatten(-2, -1, nil)
    Native.concatenate_axis([turned, rest], -1, nil)
  end

  # {length, half}, with axes in front where the entries of a batch begin at positions of their own.
  defp angles(%Array{shape: shape}, half, options) do
    length = elem(shape, tuple_size(shape) - 2)
    start = options[:offset] |> starts(tuple_size(shape)) |> Native.astype(:f64, nil)
    positions = 0 |> Native.arange(length, 1, :f64, nil) |> Native.expand_dims(-1, nil) |> Native.add(start, nil)
    frequencies = frequencies(options[:freqs], options[:base], half)
    positions |> Native.multiply(options[:scale], nil) |> Native.multiply(frequencies, nil)
  end

  defp starts(offset, _rank) when is_integer(offset), do: Native.scalar(offset, :s64)
  defp starts(%Array{shape: {}} = offset, _rank), do: offset

  defp starts(%Array{shape: {size}} = offset, rank) do
    Native.reshape(offset, List.to_tuple([size | List.duplicate(1, rank - 1)]), nil)
  end

  defp frequencies(nil, base, half) do
    exponents = 0 |> Native.arange(-half, -1, :f64, nil) |> Native.divide(half, nil)
    base |> Native.scalar(:f64) |> Native.power(exponents, nil)
  end

  defp frequencies(freqs, _base, _half), do: freqs |> Native.astype(:f64, nil) |> Native.reciprocal(nil)

  @spec attention(Array.t(), Array.t(), Array.t(), number(), :causal | Array.t() | nil, Array.t() | nil) :: Array.t()
  def attention(queries, keys, values, scale, mask, sinks) do
    [keys, values] = for array <- [keys, values], do: for_each_head(array, queries)
    scores = queries |> Native.multiply(scale, nil) |> Native.matmul(Native.swapaxes(keys, -1, -2, nil), nil)
    weights = scores |> Native.astype(:f64, nil) |> masked(mask) |> weights(sinks)
    Native.matmul(weights, values, nil)
  end

  defp for_each_head(%Array{shape: {_, groups, _, _}} = array, %Array{shape: {_, heads, _, _}}),
    do: array |> Native.astype(:f64, nil) |> Native.repeat_axis(div(heads, groups), 1, nil)

  defp masked(scores, nil), do: scores

  defp masked(%Array{shape: {_, _, length, keys}} = scores, :causal),
    do: masked(scores, Native.tri(length, keys, keys - length, :bool, nil))

  defp masked(scores, %Array{type: :bool} = mask),
    do: Native.where(mask, scores, Native.scalar(Type.min(:f64), :f64), nil)

  defp masked(scores, mask), do: Native.add(scores, mask, nil)

  defp weights(scores, nil), do: DoublePrecision.softmax(scores, [-1])

  # A sink is one more score of each query, without a value.
  defp weights(%Array{shape: {batch, heads, length, _}} = scores, sinks) do
    sinks = sinks |> Native.astype(:f64, nil) |> Native.reshape({1, heads, 1, 1}, nil)
    column = Native.broadcast_to(sinks, {batch, heads, length, 1}, nil)
    all = [column, scores] |> Native.concatenate_axis(-1, nil) |> DoublePrecision.softmax([-1])
    [_sinks, weights] = Native.split_sections(all, [1], -1, nil)
    weights
  end
end
