defmodule Mlx.Conformance.Index do
  @moduledoc """
  What stands between the brackets of `x[...]` in Python, in the index language of `Mlx.at/2`.

  Python's slices exclude their end and are cut to the axis, so the shape is needed to say the same as a range.
  """

  alias Mlx.Conformance.PythonError

  @doc "The index for an array of this shape."
  def from_python(index, shape) do
    entries = entries(index)
    used = Enum.count(entries, &(&1 not in [nil, :ellipsis]))

    if used > tuple_size(shape) do
      PythonError.value_error!("too many indices for an array of shape #{inspect(shape)}")
    end

    resolve(entries, 0, tuple_size(shape) - used, shape)
  end

  @doc "An index that is a mask: an array of booleans, or what Python takes for one."
  def mask(%Mlx.Array{type: :bool} = mask), do: mask
  def mask({:buffer, %Mlx.Array{type: :bool} = mask}), do: mask
  def mask(value) when is_boolean(value), do: Mlx.array(value)
  def mask([first | _] = list) when is_boolean(first) or is_list(first), do: mask(Mlx.array(list))
  def mask(_index), do: nil

  defp entries({:tuple, entries}), do: entries
  defp entries(entry), do: [entry]

  defp resolve([], _axis, _unused, _shape), do: []
  defp resolve([nil | rest], axis, unused, shape), do: [:new_axis | resolve(rest, axis, unused, shape)]
  defp resolve([:ellipsis | rest], axis, unused, shape), do: [:... | resolve(rest, axis + unused, unused, shape)]

  defp resolve([entry | rest], axis, unused, shape) do
    [entry(entry, elem(shape, axis)) | resolve(rest, axis + 1, unused, shape)]
  end

  defp entry(index, _size) when is_integer(index) and abs(index) < 0x80000000, do: index
  defp entry({:slice, first, last, step}, size), do: range(bound(first), bound(last), bound(step) || 1, size)
  defp entry(%Mlx.Array{shape: {}} = array, _size), do: array
  defp entry(%Mlx.Array{} = array, _size), do: array
  defp entry({:buffer, %Mlx.Array{shape: {}} = number}, size), do: entry(Mlx.to_number(number), size)
  defp entry({:buffer, array}, _size), do: array
  defp entry([], _size), do: Mlx.array([], type: :s32)
  defp entry(list, _size) when is_list(list), do: Mlx.array(list)
  defp entry(other, _size), do: PythonError.value_error!("cannot index an array with #{inspect(other)}")

  defp bound(nil), do: nil
  defp bound(integer) when is_integer(integer) and abs(integer) < 0x80000000, do: integer
  defp bound({:buffer, %Mlx.Array{shape: {}} = number}), do: number |> Mlx.to_number() |> bound()
  defp bound(%Mlx.Array{shape: {}} = number), do: number |> Mlx.to_number() |> bound()
  defp bound(other), do: PythonError.value_error!("slices need 32-bit integers, got #{inspect(other)}")

  defp range(_first, _last, 0, _size), do: PythonError.value_error!("the step of a slice cannot be 0")

  defp range(first, last, step, size) do
    {lowest, highest} = if step > 0, do: {0, size}, else: {-1, size - 1}
    first = cut(first, if(step > 0, do: lowest, else: highest), lowest, highest, size)
    stop = cut(last, if(step > 0, do: highest, else: lowest), lowest, highest, size)
    last = if step > 0, do: stop - 1, else: stop + 1

    # An end before the start would be counted from the end of the axis.
    if Range.size(first..last//step) == 0, do: 1..0//1, else: first..last//step
  end

  defp cut(nil, default, _lowest, _highest, _size), do: default
  defp cut(index, _default, lowest, highest, size) when index < 0, do: max(min(index + size, highest), lowest)
  defp cut(index, _default, lowest, highest, _size), do: max(min(index, highest), lowest)
end
