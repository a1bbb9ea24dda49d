defmodule Mlx.Ops.Sorting do
  @moduledoc false
  # Order along an axis. MLX has two functions for each: over the flattened array, and with `_axis` along one axis.

  use Mlx.Ops.Topic, title: "Sorting and searching"

  alias Mlx.{Array, Native}
  alias Mlx.Arguments.Options

  @axis_options "Options: `:axis` (default -1; `nil` for the flattened array), `:stream`"

  @doc """
  The elements in ascending order, with NaN at the end. Equal ones keep their order.

      iex> Mlx.sort(Mlx.array([[3, 1, 2], [9, 8, 7]])) |> Mlx.to_list()
      [[1, 2, 3], [7, 8, 9]]

  #{@axis_options}.

  Python: `mlx.core.sort`.
  """
  @spec sort(Array.t(), keyword()) :: Array.t()
  def sort(array, options \\ []) do
    case Options.values(options, :sort, axis: -1) do
      [nil, stream] -> Native.sort(array, stream)
      [axis, stream] -> Native.sort_axis(array, axis, stream)
    end
  end

  @doc """
  The indices that put the elements in ascending order, as `:u32`.

      iex> Mlx.argsort(Mlx.array([30, 10, 20])) |> Mlx.to_list()
      [1, 2, 0]

  #{@axis_options}.

  Python: `mlx.core.argsort`.
  """
  @spec argsort(Array.t(), keyword()) :: Array.t()
  def argsort(array, options \\ []) do
    case Options.values(options, :argsort, axis: -1) do
      [nil, stream] -> Native.argsort(array, stream)
      [axis, stream] -> Native.argsort_axis(array, axis, stream)
    end
  end

  @ranked [
    {:partition, :partition, "kth",
     "The elements so ordered that the one at index `kth` is where sorting would put it, no greater ones are before it and no " <>
       "lesser ones after it. Faster than `sort/2`; otherwise the order is not defined.",
     "Mlx.partition(Mlx.array([5, 1, 4, 2, 3]), 2)[2] |> Mlx.to_number()", "3"},
    {:argpartition, :argpartition, "kth", "The indices that order the elements as `partition/3` does, as `:u32`.",
     "Mlx.argpartition(Mlx.array([5, 1, 4, 2, 3]), 2)[2] |> Mlx.to_number()", "4"},
    {:top_k, :topk, "k",
     "The `k` greatest elements along an axis, in no defined order. Their indices are the last `k` of `argpartition/3` " <>
       "with `-k`.", "Mlx.top_k(Mlx.array([5, 1, 4, 2, 3]), 2) |> Mlx.sort() |> Mlx.to_list()", "[4, 5]"}
  ]

  for {name, native, argument, text, example, result} <- @ranked do
    rank = Macro.var(String.to_atom(argument), __MODULE__)

    @doc """
    #{text}

        iex> #{example}
        #{result}

    #{@axis_options}.

    Python: `mlx.core.#{native}`.
    """
    @spec unquote(name)(Array.t(), integer(), keyword()) :: Array.t()
    def unquote(name)(array, unquote(rank), options \\ []) do
      case Options.values(options, unquote(name), axis: -1) do
        [nil, stream] -> Native.unquote(native)(array, unquote(rank), stream)
        [axis, stream] -> Native.unquote(:"#{native}_axis")(array, unquote(rank), axis, stream)
      end
    end
  end

  @doc """
  The indices at which values would have to be inserted into a sorted vector to keep it sorted, as `:u32`.

      iex> Mlx.searchsorted(Mlx.array([1, 2, 2, 4]), Mlx.array([0, 2, 3, 5])) |> Mlx.to_list()
      [0, 1, 3, 4]
      iex> Mlx.searchsorted(Mlx.array([1, 2, 2, 4]), Mlx.array([0, 2, 3, 5]), side: :right) |> Mlx.to_list()
      [0, 3, 3, 4]

  Options: `:side` of equal elements, `:left` (default) or `:right`, `:stream`.

  Python: `mlx.core.searchsorted`.
  """
  @spec searchsorted(Array.t(), Array.operand(), keyword()) :: Array.t()
  def searchsorted(sorted, values, options \\ []) do
    case Options.values(options, :searchsorted, side: :left) do
      [side, stream] when side in [:left, :right] ->
        Native.searchsorted(sorted, values, Atom.to_string(side), stream)

      [side, _stream] ->
        raise ArgumentError, "Mlx.searchsorted: expected :side to be :left or :right, got: #{inspect(side)}"
    end
  end

  @doc """
  The elements in ascending order without repetition, in a vector of `size` elements.

  The size is given, so that nothing has to be evaluated: greater values are left out where there are more, and a fill value
  follows where there are fewer. To know the number, see the counts, which are 0 for what was filled.

  Options:

    * `:indices` - also where each is first in the flattened array, `:u32`, default false
    * `:inverse` - also, for each element of the array, its place in the result, `:u32`, default false
    * `:counts` - also how often each is there, `:s32`, default false
    * `:fill_value` - default the least element

  With one of the first three options the result is a tuple of the elements and what was asked for, in this order.

  Examples:

      iex> x = Mlx.array([3, 1, 3, 2])
      iex> x |> Mlx.unique(3) |> Mlx.to_list()
      [1, 2, 3]
      iex> {elements, counts} = Mlx.unique(x, 5, counts: true, fill_value: 9)
      iex> {Mlx.to_list(elements), Mlx.to_list(counts)}
      {[1, 2, 3, 9, 9], [1, 1, 2, 0, 0]}

  Python: `mlx.core.unique`.
  """
  @spec unique(Array.t(), non_neg_integer(), keyword()) :: Array.t() | tuple()
  def unique(%Array{} = array, size, options \\ []) do
    defaults = [indices: false, inverse: false, counts: false, fill_value: nil]
    [indices, inverse, counts, fill_value, stream] = Options.values(options, :unique, defaults)

    case Native.unique(array, size, indices, inverse, counts, fill_value, stream) do
      [elements] -> elements
      several -> List.to_tuple(several)
    end
  end
end
