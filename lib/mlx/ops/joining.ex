defmodule Mlx.Ops.Joining do
  @moduledoc false
  # Operations that make one array of several, or several of one.

  use Mlx.Ops.Topic, title: "Joining and splitting"

  alias Mlx.{Array, Native}
  alias Mlx.Arguments.Options

  @doc """
  Joins arrays along an axis that they have.

  All other axes must have the same sizes. The types are promoted to the one that holds all.

  Options:

    * `:axis` - default 0; `nil` flattens the arrays first

  Examples:

      iex> Mlx.concatenate([Mlx.array([1, 2]), Mlx.array([3])]) |> Mlx.to_list()
      [1, 2, 3]

      iex> Mlx.concatenate([Mlx.zeros({2, 1}), Mlx.zeros({2, 3})], axis: 1).shape
      {2, 4}

  Python: `mlx.core.concatenate`, `mlx.core.concat`.
  """
  @spec concatenate([Array.t()], keyword()) :: Array.t()
  def concatenate(arrays, options \\ []) when is_list(arrays) do
    case Options.values(options, :concatenate, axis: 0) do
      [nil, stream] -> Native.concatenate(arrays, stream)
      [axis, stream] -> Native.concatenate_axis(arrays, axis, stream)
    end
  end

  @doc """
  Joins arrays of one shape along a new axis.

  Options:

    * `:axis` - the position of the new axis, default 0

  Examples:

      iex> Mlx.stack([Mlx.array([1, 2]), Mlx.array([3, 4])]) |> Mlx.to_list()
      [[1, 2], [3, 4]]

      iex> Mlx.stack([Mlx.array([1, 2]), Mlx.array([3, 4])], axis: 1) |> Mlx.to_list()
      [[1, 3], [2, 4]]

  Python: `mlx.core.stack`.
  """
  @spec stack([Array.t() | number()], keyword()) :: Array.t()
  def stack(arrays, options \\ []) when is_list(arrays) do
    [axis, stream] = Options.values(options, :stack, axis: 0)
    Native.stack_axis(arrays, axis, stream)
  end

  @doc """
  The arrays along an axis, as a list; the inverse of `stack/2`.

  Options:

    * `:axis` - default 0

  Examples:

      iex> [a, b] = Mlx.unstack(Mlx.array([[1, 2], [3, 4]]))
      iex> {Mlx.to_list(a), Mlx.to_list(b)}
      {[1, 2], [3, 4]}

  Python: `mlx.core.unstack`.
  """
  @spec unstack(Array.t(), keyword()) :: [Array.t()]
  def unstack(array, options \\ []) do
    [axis, stream] = Options.values(options, :unstack, axis: 0)
    Native.unstack_axis(array, axis, stream)
  end

  @doc """
  Cuts an array into pieces along an axis.

  `parts` is a number of equal pieces, which must divide the size (`Mlx.Error` otherwise), or a list of the indices
  where a new piece begins.

  Options:

    * `:axis` - default 0

  Examples:

      iex> Mlx.split(Mlx.array([1, 2, 3, 4]), 2) |> Enum.map(&Mlx.to_list/1)
      [[1, 2], [3, 4]]

      iex> Mlx.split(Mlx.array([1, 2, 3, 4]), [1, 3]) |> Enum.map(&Mlx.to_list/1)
      [[1], [2, 3], [4]]

  Python: `mlx.core.split`.
  """
  @spec split(Array.t(), pos_integer() | [integer()], keyword()) :: [Array.t()]
  def split(array, parts, options \\ []) do
    [axis, stream] = Options.values(options, :split, axis: 0)

    if is_list(parts) do
      Native.split_sections(array, parts, axis, stream)
    else
      Native.split(array, parts, axis, stream)
    end
  end

  @doc """
  Coordinate grids of 1-d arrays: one array for each, all of one shape.

  Options:

    * `:indexing` - `:xy` (default), where the first array runs along the second axis as in a plot, or `:ij`
    * `:sparse` - leave sizes of 1 where a grid is constant, default false

  Examples:

      iex> [x, y] = Mlx.meshgrid([Mlx.array([1, 2, 3]), Mlx.array([4, 5])])
      iex> {Mlx.to_list(x), Mlx.to_list(y)}
      {[[1, 2, 3], [1, 2, 3]], [[4, 4, 4], [5, 5, 5]]}

  Python: `mlx.core.meshgrid`.
  """
  @spec meshgrid([Array.t()], keyword()) :: [Array.t()]
  def meshgrid(arrays, options \\ []) when is_list(arrays) do
    [indexing, sparse, stream] = Options.values(options, :meshgrid, indexing: :xy, sparse: false)
    Native.meshgrid(arrays, sparse, indexing, stream)
  end
end
