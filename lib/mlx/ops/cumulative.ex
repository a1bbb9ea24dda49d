defmodule Mlx.Ops.Cumulative do
  @moduledoc false
  # Operations whose every element depends on those before it along an axis.

  use Mlx.Ops.Topic, title: "Running sums, products and extremes"

  alias Mlx.{Array, Native, Type}
  alias Mlx.Arguments.Options
  alias Mlx.Ops.DoublePrecision

  @axis_options """
  Options: `:axis` (negative from the end; without it the array is flattened first), `:reverse`, whether to start at the
  end (default `false`), `:inclusive`, whether an element counts itself (default `true`)\
  """

  @typed [
    {:cumulative_sum, :cumsum, "The sums of all elements up to each.", "[[1, 2, 3], [5, 7, 9]]"},
    {:cumulative_product, :cumprod, "The products of all elements up to each.", "[[1, 2, 3], [4, 10, 18]]"}
  ]

  for {name, native, text, elements} <- @typed do
    @doc """
    #{text}

        iex> Mlx.#{name}(Mlx.array([[1, 2, 3], [4, 5, 6]]), axis: 0) |> Mlx.to_list()
        #{elements}

    #{@axis_options}, `:type` to which the elements are converted first, `:stream`.

    Python: `mlx.core.#{native}`, `mlx.core.cumulative_#{String.trim_leading("#{native}", "cum")}`.
    """
    @spec unquote(name)(Array.operand(), keyword()) :: Array.t()
    def unquote(name)(array, options \\ []) do
      [axis, reverse, inclusive, type, stream] =
        Options.values(options, unquote(name), axis: nil, reverse: false, inclusive: true, type: nil)

      type = type && Type.normalize!(type, unquote(name))

      if axis do
        Native.unquote(:"#{native}_axis")(array, axis, reverse, inclusive, type, stream)
      else
        Native.unquote(native)(array, reverse, inclusive, type, stream)
      end
    end
  end

  @plain [
    {:cumulative_max, :cummax, "The greatest of all elements up to each.", "[1, 3, 2]", "[1, 3, 3]"},
    {:cumulative_min, :cummin, "The least of all elements up to each.", "[3, 1, 2]", "[3, 1, 1]"},
    {:cumulative_logsumexp, :logcumsumexp,
     "The logarithms of the sums of exponentials of all elements up to each. For floating-point types.",
     "[0.0, -1000.0]", "[0.0, 0.0]"}
  ]

  for {name, native, text, operand, elements} <- @plain do
    @doc """
    #{text}

        iex> Mlx.#{name}(Mlx.array(#{operand})) |> Mlx.to_list()
        #{elements}

    #{@axis_options}, `:stream`.

    Python: `mlx.core.#{native}`.
    """
    @spec unquote(name)(Array.operand(), keyword()) :: Array.t()
    def unquote(name)(array, options \\ [])

    if name == :cumulative_logsumexp do
      def cumulative_logsumexp(%Array{type: :f64} = array, options) do
        [axis, reverse, inclusive, stream] =
          Options.values(options, :cumulative_logsumexp, axis: nil, reverse: false, inclusive: true)

        DoublePrecision.on(stream, fn -> DoublePrecision.cumulative_logsumexp(array, axis, reverse, inclusive) end)
      end
    end

    def unquote(name)(array, options) do
      [axis, reverse, inclusive, stream] =
        Options.values(options, unquote(name), axis: nil, reverse: false, inclusive: true)

      if axis do
        Native.unquote(:"#{native}_axis")(array, axis, reverse, inclusive, stream)
      else
        Native.unquote(native)(array, reverse, inclusive, stream)
      end
    end
  end

  @doc """
  The differences of neighbouring elements along an axis, which gets shorter by one.

      iex> Mlx.diff(Mlx.array([1, 4, 9, 16])) |> Mlx.to_list()
      [3, 5, 7]
      iex> Mlx.diff(Mlx.array([1, 4, 9, 16]), order: 2) |> Mlx.to_list()
      [2, 2]

  Options: `:order`, how often to take differences (default 1), `:axis` (default -1), `:stream`.

  Python: `mlx.core.diff`.
  """
  @spec diff(Array.operand(), keyword()) :: Array.t()
  def diff(array, options \\ []) do
    [order, axis, stream] = Options.values(options, :diff, order: 1, axis: -1)
    Native.diff(array, order, axis, stream)
  end
end
