defmodule Mlx.Array do
  @moduledoc """
  A multi-dimensional array of MLX.

  An array has a `shape`, a tuple of its sizes along each axis, and a `type` such as `:f32` (see `Mlx.Type`). Both are
  known at once and can be matched on, while the values are computed when they are first read (`Mlx.eval/1`,
  `Mlx.to_list/1`, `Mlx.to_binary/1`, `inspect/1`, ...):

      iex> %Mlx.Array{shape: {rows, 2}, type: :f32} = Mlx.zeros({3, 2})
      iex> rows
      3

  Arrays are made by the functions of `Mlx`, such as `Mlx.array/2`. They never change: every operation returns a new one.

  ## Indexing

  `Access` works with whatever `Mlx.at/2` takes: integers (also negative), ranges with steps, lists of these for several
  axes, and arrays of indices.

      iex> array = Mlx.array([[1, 2, 3], [4, 5, 6]])
      iex> array[1]
      #Mlx.Array<
        s32[3]
        [4, 5, 6]
      >
      iex> Mlx.to_number(array[[-1, 0]])
      4

  ## Text

  `inspect/2` shows the type, the shape and the elements, `to_string/1` the elements alone: of an array without axes the
  number. How many decimals both show is said by `Mlx.PrintOptions`.

      iex> "\#{Mlx.sum(Mlx.array([1, 2]))}, \#{Mlx.array([1.5, 2.0])}"
      "3, [1.5, 2.0]"

  Python: `mlx.core.array`.
  """

  @behaviour Access

  @enforce_keys [:ref, :shape, :type]
  defstruct [:ref, :shape, :type]

  @type t :: %__MODULE__{ref: reference(), shape: shape(), type: Mlx.Type.t()}

  @typedoc "The sizes along each axis. A single number has the shape `{}`."
  @type shape :: tuple()

  @typedoc """
  A shape as functions take it: a tuple or a list of sizes, or a size for one axis: `{3}`, `[3]` and `3` are the same.
  """
  @type sizes :: shape() | [non_neg_integer()] | non_neg_integer()

  @typedoc """
  What operations take: an array, or a number in its place.

  A number has no type of its own. It takes the type of the array beside it where it can: `Mlx.add(x, 1.5)` is `:bf16`
  for a `:bf16` array.
  """
  @type operand :: t() | scalar()

  @typedoc "A single value."
  @type scalar :: number() | boolean() | :nan | :infinity | :neg_infinity

  @impl Access
  def fetch(array, index), do: {:ok, Mlx.Ops.IndexedElements.at(array, index)}

  @impl Access
  def get_and_update(array, index, fun) do
    current = Mlx.Ops.IndexedElements.at(array, index)

    case fun.(current) do
      {got, updated} -> {got, Mlx.Ops.IndexedElements.put_at(array, index, updated)}
      :pop -> pop(array, index)
    end
  end

  @impl Access
  def pop(_array, _index) do
    raise ArgumentError, "Mlx.Array: an array has a fixed shape, so no part of it can be removed"
  end

  defimpl Inspect do
    def inspect(array, opts), do: Mlx.Values.Printing.inspect(array, opts)
  end

  defimpl String.Chars do
    def to_string(array), do: Mlx.Values.Printing.text(array)
  end
end
