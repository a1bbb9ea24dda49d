defmodule Mlx.Transforms.MappedFunction do
  @moduledoc false
  # How a custom function maps over axes, in the user's own way. Native code cannot call the user's function: it is
  # recorded for each kind of arguments when it turns out that it is needed, see `Mlx.Transforms.Recording.run/2`.

  alias Mlx.{Array, Tree}
  alias Mlx.Transforms.{MappedAxes, Recording}

  @result_axes "Mlx.custom_function: :vmap"

  @doc """
  A function that records `vmap` for the inputs `{axis, shape, type}` of a call. The first of them are the primals; the
  others are arrays that the function uses from outside.
  """
  @spec recorder(function(), [term()], term()) ::
          ([{integer(), tuple(), Mlx.Type.t()}] -> {reference(), [Array.t()], [integer()]})
  def recorder(vmap, primals, outputs) do
    primals = Tree.map(primals, &without_reference/1)
    outputs = Tree.map(outputs, &without_reference/1)
    fn inputs -> record(vmap, primals, outputs, inputs) end
  end

  # What is kept of an array must not keep its memory.
  defp without_reference(%Array{} = array), do: %Array{array | ref: nil}

  defp record(vmap, primals, outputs, inputs) do
    {own, outside} = Enum.split(inputs, length(Tree.arrays(primals)))

    if Enum.any?(outside, fn {axis, _shape, _type} -> axis != -1 end) do
      raise ArgumentError,
            "#{@result_axes} cannot be used where the function takes a mapped array from outside; give it as an argument"
    end

    axes = Tree.with_arrays(primals, Enum.map(own, fn {axis, _shape, _type} -> if axis != -1, do: axis end))
    arguments = [primals, Enum.map(outside, fn {_axis, shape, type} -> %Array{ref: nil, shape: shape, type: type} end)]
    shapes = Enum.map(inputs, fn {_axis, shape, type} -> {shape, type} end)

    recorded =
      Recording.without_values("Mlx.custom_function", arguments, shapes, fn [primals, _outside] ->
        vmap.(primals, axes)
      end)

    Recording.evaluate_captured!(recorded.captured, @result_axes)
    {recorded.program, recorded.captured, result_axes!(recorded.result, outputs, size(inputs))}
  end

  defp size(inputs), do: Enum.find_value(inputs, fn {axis, shape, _type} -> if axis != -1, do: elem(shape, axis) end)

  defp result_axes!({result, axes}, outputs, size) do
    axes =
      Enum.zip_with(MappedAxes.flatten(axes, result, @result_axes), Tree.arrays(result), fn axis, array ->
        MappedAxes.normalize(axis, array.shape, @result_axes)
      end)

    mapped =
      Enum.zip_with(Recording.shapes(result), axes, fn {shape, type}, axis -> {unmapped(shape, axis, size), type} end)

    if mapped != Recording.shapes(outputs) do
      raise ArgumentError,
            "#{@result_axes} has to return arrays of the shapes and types #{inspect(Recording.shapes(outputs))} with " <>
              "an axis of size #{size} more, got: #{inspect(Recording.shapes(result))} with the axes #{inspect(axes)}"
    end

    axes
  end

  defp result_axes!(other, _outputs, _size) do
    raise ArgumentError, "#{@result_axes} has to return a result and its axes, got: #{inspect(other)}"
  end

  defp unmapped(shape, axis, size) when axis == -1 or elem(shape, axis) == size, do: MappedAxes.without(shape, axis)
  defp unmapped(_shape, _axis, _size), do: nil
end
