defmodule Mlx.Conformance.Selection do
  @moduledoc """
  Adapters for reading and updating parts of arrays.
  """

  alias Mlx.Conformance.{Index, Operators, PythonError}

  @doc "`x[index]`."
  def get_item(call, %{self: self, index: index}, _options) do
    case Index.from_python(index, self.shape) do
      [] -> self
      index -> call.([self, index], [])
    end
  end

  @doc "`x[index] = value` and `x.at[index].add(value)`: the new array."
  def update(call, %{self: self, index: index, value: value}, _options) do
    value = Operators.operand(value, self.type)

    case Index.mask(index) do
      nil -> call.([self, Index.from_python(index, self.shape), value], [])
      mask -> call.([self, mask, value], [])
    end
  end

  @doc "`take_along_axis(a, indices, axis)`, of the flattened array when the axis is `None`."
  def take_along_axis(call, %{a: a, indices: indices, axis: nil}, options) do
    call.([Mlx.flatten(a), indices], options)
  end

  def take_along_axis(call, %{a: a, indices: indices, axis: axis}, options) do
    call.([a, indices], [{:axis, axis} | options])
  end

  @doc "`put_along_axis(a, indices, values, axis)`, into the flattened array when the axis is `None`."
  def put_along_axis(call, %{a: a, indices: indices, values: values, axis: nil}, options) do
    Mlx.reshape(call.([Mlx.flatten(a), indices(indices), values], options), a.shape)
  end

  def put_along_axis(call, %{a: a, indices: indices, values: values, axis: axis}, options) do
    call.([a, indices, values], [{:axis, axis} | options])
  end

  @doc "`slice(a, start_indices, axes, slice_size)`: an array has the starts of some axes."
  def slice(call, %{a: a, start_indices: starts, axes: axes, slice_size: sizes}, options) do
    call.([a, starts(a, starts, axes), sizes], options)
  end

  @doc "`slice_update(a, update, start_indices, axes)`."
  def slice_update(call, %{a: a, update: update, start_indices: starts, axes: axes}, options) do
    call.([a, starts(a, starts, axes), update], options)
  end

  # An empty list is an array of floats, and picks nothing.
  defp indices(%Mlx.Array{} = array), do: if(Mlx.size(array) == 0, do: Mlx.as_type(array, :s32), else: array)

  defp starts(a, starts, axes) do
    axes = for axis <- axes, do: if(axis < 0, do: axis + Mlx.rank(a), else: axis)
    outside = Enum.find(axes, &(&1 not in 0..(Mlx.rank(a) - 1)//1))
    if outside, do: raise(PythonError, kind: :IndexError, message: "axis #{outside} is out of bounds")

    for axis <- 0..(Mlx.rank(a) - 1)//1 do
      case Enum.find_index(axes, &(&1 == axis)) do
        nil -> 0
        position -> Mlx.at(starts, position)
      end
    end
  end
end
