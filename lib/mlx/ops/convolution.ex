defmodule Mlx.Ops.Convolution do
  @moduledoc false
  # Convolutions over one, two or three axes, with the channels last.

  use Mlx.Ops.Topic, title: "Convolutions"

  alias Mlx.{Array, Native}
  alias Mlx.Arguments.{Operand, Options}

  @doc """
  Convolves an input `{batch, axis_1, ..., channels}` with a kernel `{outputs, size_1, ..., channels}`.

  The rank of the arrays says over how many axes: 3 for one, 4 for two, 5 for three.

  Options, each an integer for all axes or a list with one a spatial axis:

    * `:strides` - default 1
    * `:padding` - default 0; also `{low, high}` pairs in the list, `:valid` (0) or `:same` (as many as keep the size
      when the stride is 1)
    * `:kernel_dilation`, `:input_dilation` - default 1
    * `:feature_group_size` - the number of groups that the channels are split into, an integer, default 1
    * `:flip` - turn the kernel around, which makes it a convolution in the sense of mathematics, default false

  Examples:

      iex> input = Mlx.array([1.0, 2.0, 3.0, 4.0]) |> Mlx.reshape({1, 4, 1})
      iex> kernel = Mlx.array([1.0, 1.0]) |> Mlx.reshape({1, 2, 1})
      iex> Mlx.conv(input, kernel) |> Mlx.flatten() |> Mlx.to_list()
      [3.0, 5.0, 7.0]
      iex> Mlx.conv(input, kernel, padding: [{1, 0}], strides: 2) |> Mlx.flatten() |> Mlx.to_list()
      [1.0, 5.0]

  Python: `mlx.core.conv_general`, `conv1d`, `conv2d`, `conv3d`.
  """
  @spec conv(Array.t(), Array.t(), keyword()) :: Array.t()
  def conv(%Array{} = input, %Array{} = kernel, options \\ []) do
    defaults = [
      strides: 1,
      padding: 0,
      kernel_dilation: 1,
      input_dilation: 1,
      feature_group_size: 1,
      flip: false
    ]

    [strides, padding, kernel_dilation, input_dilation, groups, flip, stream] = Options.values(options, :conv, defaults)
    axes = spatial_axes!(:conv, input)
    check!(:conv, kernel, groups)
    kernel_dilation = per_axis(kernel_dilation, axes, :conv)
    {low, high} = padding(padding, axes, kernel, kernel_dilation)

    Native.conv_general(
      input,
      kernel,
      per_axis(strides, axes, :conv),
      low,
      high,
      kernel_dilation,
      per_axis(input_dilation, axes, :conv),
      groups,
      flip,
      stream
    )
  end

  @doc """
  The transposed convolution: the gradient of `conv/3` with respect to its input, used to enlarge.

  The shapes of the arrays are as for `conv/3`.

  Options, each an integer for all axes or a list with one a spatial axis:

    * `:strides`, `:kernel_dilation` - default 1
    * `:padding`, `:output_padding` - default 0
    * `:feature_group_size` - an integer, default 1

  Examples:

      iex> input = Mlx.array([1.0, 2.0]) |> Mlx.reshape({1, 2, 1})
      iex> kernel = Mlx.array([1.0, 10.0]) |> Mlx.reshape({1, 2, 1})
      iex> Mlx.conv_transpose(input, kernel, strides: 2) |> Mlx.flatten() |> Mlx.to_list()
      [1.0, 10.0, 2.0, 20.0]

  Python: `mlx.core.conv_transpose1d`, `conv_transpose2d`, `conv_transpose3d`.
  """
  @spec conv_transpose(Array.t(), Array.t(), keyword()) :: Array.t()
  def conv_transpose(%Array{} = input, %Array{} = kernel, options \\ []) do
    defaults = [strides: 1, padding: 0, kernel_dilation: 1, output_padding: 0, feature_group_size: 1]

    [strides, padding, dilation, output_padding, groups, stream] =
      Options.values(options, :conv_transpose, defaults)

    axes = spatial_axes!(:conv_transpose, input)
    check!(:conv_transpose, kernel, groups)
    settings = Enum.flat_map([strides, padding, dilation, output_padding], &per_axis(&1, axes, :conv_transpose))
    apply(Native, :"conv_transpose#{axes}d", [input, kernel] ++ settings ++ [groups, stream])
  end

  @doc """
  The discrete convolution of two 1-d arrays, both of one element or more.

  Options:

    * `:mode` - `:full` (default), every overlap; `:same`, as long as `a`; or `:valid`, where they overlap fully

  Examples:

      iex> Mlx.convolve(Mlx.array([1.0, 2.0, 3.0]), Mlx.array([1.0, 10.0])) |> Mlx.to_list()
      [1.0, 12.0, 23.0, 30.0]

      iex> Mlx.convolve(Mlx.array([1.0, 2.0, 3.0]), Mlx.array([1.0, 10.0]), mode: :valid) |> Mlx.to_list()
      [12.0, 23.0]

  Python: `mlx.core.convolve`.
  """
  @spec convolve(Array.t(), Array.t(), keyword()) :: Array.t()
  def convolve(%Array{} = a, %Array{} = b, options \\ []) do
    [mode, stream] = Options.values(options, :convolve, mode: :full)
    {size_a, size_b} = convolved_sizes!(a.shape, b.shape)
    {input, kernel} = if size_a >= size_b, do: {a, b}, else: {b, a}
    {{input_size}, {kernel_size}} = {input.shape, kernel.shape}
    {low, high} = overlap(mode, kernel_size)

    input
    |> Native.reshape([1, input_size, 1], stream)
    |> Native.conv_general(
      Native.reshape(kernel, [1, kernel_size, 1], stream),
      [1],
      [low],
      [high],
      [1],
      [1],
      1,
      true,
      stream
    )
    |> Native.reshape([-1], stream)
  end

  defp convolved_sizes!({size_a}, {size_b}) when size_a > 0 and size_b > 0, do: {size_a, size_b}

  defp convolved_sizes!(shape_a, shape_b) do
    raise ArgumentError,
          "Mlx.convolve: expected two arrays of rank 1 with elements, got the shapes " <>
            "#{inspect(shape_a)} and #{inspect(shape_b)}"
  end

  defp overlap(:full, size), do: {size - 1, size - 1}
  defp overlap(:valid, _size), do: {0, 0}
  defp overlap(:same, size), do: {div(size, 2), size - 1 - div(size, 2)}

  defp overlap(mode, _size) do
    raise ArgumentError, "Mlx.convolve: expected :mode to be :full, :same or :valid, got: #{inspect(mode)}"
  end

  defp spatial_axes!(function, input) do
    case tuple_size(input.shape) - 2 do
      axes when axes in 1..3 ->
        axes

      _ ->
        raise ArgumentError,
              "Mlx.#{function}: expected an input of rank 3, 4 or 5 (batch, 1 to 3 axes, channels), " <>
                "got the shape #{inspect(input.shape)}"
    end
  end

  defp check!(function, kernel, groups) do
    Operand.elements!([kernel], function)

    unless is_integer(groups) and groups > 0 do
      raise ArgumentError, "Mlx.#{function}: expected :feature_group_size to be positive, got: #{inspect(groups)}"
    end
  end

  defp per_axis(value, axes, _function) when is_integer(value), do: List.duplicate(value, axes)
  defp per_axis(values, axes, _function) when is_list(values) and length(values) == axes, do: values

  defp per_axis(values, axes, function) do
    raise ArgumentError, "Mlx.#{function}: expected an integer or a list of #{axes} integers, got: #{inspect(values)}"
  end

  defp padding(:valid, axes, _kernel, _dilation), do: padding(0, axes, nil, nil)

  defp padding(:same, _axes, kernel, dilations) do
    [_outputs | sizes] = Tuple.to_list(kernel.shape)

    sizes
    |> Enum.zip_with(dilations, fn size, dilation -> (size - 1) * dilation end)
    |> Enum.map(&{div(&1, 2), &1 - div(&1, 2)})
    |> Enum.unzip()
  end

  defp padding(padding, axes, _kernel, _dilations) do
    padding |> per_axis(axes, :conv) |> Enum.map(&if(is_integer(&1), do: {&1, &1}, else: &1)) |> Enum.unzip()
  end
end
