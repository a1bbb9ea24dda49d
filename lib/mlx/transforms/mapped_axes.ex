defmodule Mlx.Transforms.MappedAxes do
  @moduledoc false
  # The axes that functions are mapped over: one for each array of a container, as people give them. `what` begins the
  # messages.

  alias Mlx.{Array, Tree}

  @type t :: integer() | nil | container()
  @type container :: [t()] | tuple() | map()

  @doc "One axis for each array of the container, from a container of its form or from one axis for all."
  @spec flatten(t(), term(), String.t()) :: [integer() | nil]
  def flatten(axis, container, _what) when is_integer(axis) or is_nil(axis) do
    Enum.map(Tree.arrays(container), fn _array -> axis end)
  end

  def flatten(axes, %Array{shape: shape}, what) do
    raise ArgumentError, "#{what} has #{inspect(axes)} for an array of shape #{inspect(shape)}, expected an axis"
  end

  def flatten(axes, container, what) do
    case pairs(axes, container) do
      {:ok, pairs} -> Enum.flat_map(pairs, fn {axis, element} -> flatten(axis, element, what) end)
      :error -> raise ArgumentError, "#{what} has another form than the arrays"
    end
  end

  # The entries of two containers of one form, those of maps by their keys in order.
  defp pairs(%_{} = axes, container), do: axes |> Map.from_struct() |> pairs(container)
  defp pairs(axes, %_{} = container), do: pairs(axes, Map.from_struct(container))

  defp pairs(axes, container) when is_list(axes) and is_list(container) do
    if length(axes) == length(container), do: {:ok, Enum.zip(axes, container)}, else: :error
  end

  defp pairs(axes, container) when is_tuple(axes) and is_tuple(container) do
    pairs(Tuple.to_list(axes), Tuple.to_list(container))
  end

  defp pairs(axes, container) when is_map(axes) and is_map(container) do
    keys = container |> Map.keys() |> Enum.sort()
    if Enum.sort(Map.keys(axes)) == keys, do: {:ok, for(key <- keys, do: {axes[key], container[key]})}, else: :error
  end

  defp pairs(_axes, _container), do: :error

  @doc "The axis as native functions take it: not negative, or -1 for nil."
  @spec normalize(integer() | nil, tuple(), String.t()) :: integer()
  def normalize(nil, _shape, _what), do: -1

  def normalize(axis, shape, _what) when is_integer(axis) and axis >= -tuple_size(shape) and axis < tuple_size(shape) do
    Integer.mod(axis, tuple_size(shape))
  end

  def normalize(axis, shape, what) do
    raise ArgumentError, "#{what} has the axis #{inspect(axis)}, and an array has #{tuple_size(shape)} axes"
  end

  @doc "A shape without the mapped axis."
  @spec without(tuple(), integer()) :: tuple()
  def without(shape, -1), do: shape
  def without(shape, axis), do: Tuple.delete_at(shape, axis)
end
