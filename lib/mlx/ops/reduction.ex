defmodule Mlx.Ops.Reduction do
  @moduledoc false
  # Operations that put one value in the place of some axes. MLX has three functions for each: for all axes, with the
  # suffix `_axis` for one, and with `_axes` for several.

  use Mlx.Ops.Topic, title: "Sums, means and other reductions"

  alias Mlx.{Array, Native, Type}
  alias Mlx.Arguments.{CalledFunction, Options}
  alias Mlx.Ops.DoublePrecision

  # {name, name in MLX, what the result is, operand and result of the example along axis 0}
  @reductions [
    {:sum, :sum,
     """
     The sum of the elements, which is 0 where there are none.

     Booleans and integers of less than 32 bits are summed as `:s32` or `:u32`.
     """, "[[1, 2, 3], [4, 5, 6]]", {"s32[3]", "[5, 7, 9]"}},
    {:product, :prod,
     """
     The product of the elements, which is 1 where there are none.

     Booleans and integers of less than 32 bits are multiplied as `:s32` or `:u32`.
     """, "[[1, 2, 3], [4, 5, 6]]", {"s32[3]", "[4, 10, 18]"}},
    {:mean, :mean, "The mean of the elements, NaN where there are none. Integers become `:f32`.",
     "[[1, 2, 3], [4, 5, 6]]", {"f32[3]", "[2.5, 3.5, 4.5]"}},
    {:median, :median,
     """
     The median: the middle of the sorted elements, or the mean of the two in the middle. Integers become `:f32`.

     Raises an `Mlx.Error` where there are no elements.
     """, "[[1, 2, 3], [4, 5, 6]]", {"f32[3]", "[2.5, 3.5, 4.5]"}},
    {:reduce_max, :max,
     """
     The greatest element; NaN where there is one. Of two arrays, see `max/2`.

     Raises an `Mlx.Error` where there are no elements.
     """, "[[1, 5, 3], [4, 2, 6]]", {"s32[3]", "[4, 5, 6]"}},
    {:reduce_min, :min,
     """
     The least element; NaN where there is one. Of two arrays, see `min/2`.

     Raises an `Mlx.Error` where there are no elements.
     """, "[[1, 5, 3], [4, 2, 6]]", {"s32[3]", "[1, 2, 3]"}},
    {:all, :all, "Whether all elements are true, as `:bool`. Every number but 0 is true.",
     "[[true, false], [true, true]]", {"bool[2]", "[true, false]"}},
    {:any, :any, "Whether any element is true, as `:bool`. Every number but 0 is true.",
     "[[true, false], [true, false]]", {"bool[2]", "[true, false]"}},
    {:count_nonzero, :count_nonzero, "The number of elements that are not 0, as `:s32`.", "[[1, 0, 3], [4, 0, 0]]",
     {"s32[3]", "[2, 0, 1]"}},
    {:logsumexp, :logsumexp,
     """
     The logarithm of the sum of exponentials, `log ∑ eˣ`, without overflow. Integers become `:f32`.

     Raises an `Mlx.Error` where there are no elements.
     """, "[[500.0], [-500.0]]", {"f32[1]", "[500.0]"}}
  ]

  @axes_options """
  Options: `:axes`, an axis or a list of axes (default: all; negative from the end), `:keep_axes`, whether they stay as
  axes of size 1 (default `false`)\
  """

  for {name, native, text, operand, {header, elements}} <- @reductions do
    @doc """
    #{text}
        iex> Mlx.#{name}(Mlx.array(#{operand}), axes: [0])
        #Mlx.Array<
          #{header}
          #{elements}
        >

    #{@axes_options}, `:stream`.

    Python: `mlx.core.#{native}`.
    """
    @spec unquote(name)(Array.operand(), keyword()) :: Array.t()
    def unquote(name)(array, options \\ [])

    if name == :logsumexp do
      def logsumexp(%Array{type: :f64, shape: shape} = array, options) do
        [axes, keep, stream] = Options.values(options, :logsumexp, axes: nil, keep_axes: false)
        DoublePrecision.on(stream, fn -> DoublePrecision.logsumexp(array, axes(axes, shape), keep) end)
      end
    end

    def unquote(name)(array, options) do
      case Options.values(options, unquote(name), axes: nil, keep_axes: false) do
        [nil, keep, stream] -> Native.unquote(native)(array, keep, stream)
        [axis, keep, stream] when is_integer(axis) -> Native.unquote(:"#{native}_axis")(array, axis, keep, stream)
        [axes, keep, stream] -> Native.unquote(:"#{native}_axes")(array, axes, keep, stream)
      end
    end
  end

  @deviations [
    {:variance, :var, "The variance: the mean of the squared distances from the mean.", "[2.25, 2.25, 2.25]"},
    {:standard_deviation, :std, "The standard deviation: the square root of the variance.", "[1.5, 1.5, 1.5]"}
  ]

  for {name, native, text, elements} <- @deviations do
    @doc """
    #{text} Integers become `:f32`.

        iex> Mlx.#{name}(Mlx.array([[1, 2, 3], [4, 5, 6]]), axes: [0])
        #Mlx.Array<
          f32[3]
          #{elements}
        >

    #{@axes_options}, `:ddof`, what is subtracted from the number of elements before it divides
    (default 0; 1 for a sample), `:stream`.

    Python: `mlx.core.#{native}`.
    """
    @spec unquote(name)(Array.operand(), keyword()) :: Array.t()
    def unquote(name)(array, options \\ []) do
      case Options.values(options, unquote(name), axes: nil, keep_axes: false, ddof: 0) do
        [nil, keep, ddof, stream] ->
          Native.unquote(native)(array, keep, ddof, stream)

        [axis, keep, ddof, stream] when is_integer(axis) ->
          Native.unquote(:"#{native}_axis")(array, axis, keep, ddof, stream)

        [axes, keep, ddof, stream] ->
          Native.unquote(:"#{native}_axes")(array, axes, keep, ddof, stream)
      end
    end
  end

  for {name, extreme, example} <- [{:argmax, "greatest", "[1, 0, 1]"}, {:argmin, "least", "[0, 1, 0]"}] do
    @doc """
    The index of the #{extreme} element, as `:u32`: the first of equal ones.

    Without an axis it is the index into the elements row after row.

        iex> Mlx.#{name}(Mlx.array([[1, 5, 3], [4, 2, 6]]), axis: 0)
        #Mlx.Array<
          u32[3]
          #{example}
        >

    Raises an `Mlx.Error` where there are no elements.

    Options: `:axis` (negative from the end), `:keep_axis`, whether it stays as an axis of size 1 (default `false`),
    `:stream`.

    Python: `mlx.core.#{name}`.
    """
    @spec unquote(name)(Array.operand(), keyword()) :: Array.t()
    def unquote(name)(array, options \\ []) do
      case Options.values(options, unquote(name), axis: nil, keep_axis: false) do
        [nil, keep, stream] -> Native.unquote(name)(array, keep, stream)
        [axis, keep, stream] -> Native.unquote(:"#{name}_axis")(array, axis, keep, stream)
      end
    end
  end

  @doc """
  Exponentials that sum to 1, `eˣ / ∑ eˣ`, without overflow. The shape stays. Integers become `:f32`.

      iex> Mlx.softmax(Mlx.array([[0.0, 0.0], [1000.0, -1000.0]]), axes: -1)
      #Mlx.Array<
        f32[2][2]
        [
          [0.5, 0.5],
          [1.0, 0.0]
        ]
      >

  Options: `:axes` over which they sum to 1, an axis or a list of axes (default: all; negative from the end), `:precise`,
  whether sums of `:f16` and `:bf16` are made as `:f32` (default `false`), `:stream`.

  Python: `mlx.core.softmax`.
  """
  @spec softmax(Array.operand(), keyword()) :: Array.t()
  def softmax(array, options \\ [])

  def softmax(%Array{type: :f64, shape: shape} = array, options) do
    [axes, _precise, stream] = Options.values(options, :softmax, axes: nil, precise: false)
    DoublePrecision.on(stream, fn -> DoublePrecision.softmax(array, axes(axes, shape)) end)
  end

  def softmax(array, options) do
    case Options.values(options, :softmax, axes: nil, precise: false) do
      [nil, precise, stream] -> Native.softmax(array, precise, stream)
      [axis, precise, stream] when is_integer(axis) -> Native.softmax_axis(array, axis, precise, stream)
      [axes, precise, stream] -> Native.softmax_axes(array, axes, precise, stream)
    end
  end

  @doc """
  The sum along a diagonal of two axes.

  Options:

    * `:offset` - which diagonal: 0 the main one, positive above it, negative below
    * `:axes` - the two axes that hold the matrices, default `[0, 1]`
    * `:type` - the type of the sum, by default that of the array

  Examples:

      iex> Mlx.trace(Mlx.array([[1, 2], [3, 4]])) |> Mlx.to_number()
      5

      iex> Mlx.trace(Mlx.array([[1, 2], [3, 4]]), offset: 1) |> Mlx.to_number()
      2

  Python: `mlx.core.trace`.
  """
  @spec trace(Array.t(), keyword()) :: Array.t()
  def trace(%Array{} = array, options \\ []) do
    case Options.values(options, :trace, offset: 0, axes: [0, 1], type: array.type) do
      [offset, [axis1, axis2], type, stream] ->
        Native.trace_axes(array, offset, axis1, axis2, Type.normalize!(type, :trace), stream)

      [_offset, other, _type, _stream] ->
        raise ArgumentError, "Mlx.trace: expected :axes to be two axes, got: #{inspect(other)}"
    end
  end

  @doc """
  The least and the greatest element, as `reduce_min/2` and `reduce_max/2` give them, as a tuple.

      iex> {least, greatest} = Mlx.minmax(Mlx.array([3, 1, 2]))
      iex> {Mlx.to_number(least), Mlx.to_number(greatest)}
      {1, 3}

  #{@axes_options}, `:stream`.

  Python: `mlx.core.minmax`.
  """
  @spec minmax(Array.t(), keyword()) :: {Array.t(), Array.t()}
  def minmax(array, options \\ []) do
    CalledFunction.name("Mlx.minmax", fn -> {reduce_min(array, options), reduce_max(array, options)} end)
  end

  defp axes(nil, shape), do: Enum.to_list(0..(tuple_size(shape) - 1)//1)
  defp axes(axes, _shape), do: List.wrap(axes)
end
