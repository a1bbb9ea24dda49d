defmodule Mlx.Conformance.Kinds do
  @moduledoc """
  What `Mlx` takes for a value of Python, by the kind of the parameter.

  A value of another kind is a `TypeError`. A number of numpy is an integer or an array, whichever is asked for.
  """

  import Mlx.Conformance.PythonError, only: [type_error!: 1]

  alias Mlx.Conformance.{PythonError, Value}

  @doc "Converts a value (`Mlx.Conformance.Value`) for the parameter `name`."
  def convert(kind, value, name)

  def convert({:nullable, _kind}, nil, _name), do: nil
  def convert({:nullable, kind}, value, name), do: convert(kind, value, name)
  def convert(:any, value, _name), do: value
  def convert(kind, {:instance, _class, elements}, name), do: convert(kind, {:tuple, elements}, name)
  def convert(:array, %Mlx.Array{} = array, _name), do: array
  def convert(:array, {:buffer, _array} = buffer, _name), do: Value.array(buffer)

  def convert(:operand, {:buffer, _array} = buffer, _name), do: Value.array(buffer)
  def convert(:operand, {:complex, real, imaginary}, _name), do: Mlx.array({real, imaginary})
  def convert(:operand, %Mlx.Array{} = array, _name), do: array
  def convert(:operand, x, _name) when is_number(x) or is_boolean(x), do: x
  def convert(:operand, x, _name) when x in [:nan, :infinity, :neg_infinity], do: x

  def convert(:number, x, _name) when is_number(x) or x in [:nan, :infinity, :neg_infinity], do: x
  def convert(:number, x, _name) when is_boolean(x), do: if(x, do: 1, else: 0)
  def convert(:integer, x, _name) when is_integer(x), do: x
  def convert(:integer, x, _name) when is_boolean(x), do: if(x, do: 1, else: 0)

  def convert(:integer, {:buffer, %{shape: {}, type: type} = array}, _name) when type not in [:f16, :f32, :f64],
    do: Mlx.to_number(array)

  def convert(:boolean, x, _name) when is_boolean(x), do: x
  def convert(:function, function, _name) when is_function(function, 2), do: function
  # What is called with one array, such as an activation function or a schedule.
  def convert(:unary, function, _name) when is_function(function, 2), do: &function.([&1], %{})
  def convert(:layer, %_module{} = layer, _name) when not is_struct(layer, Mlx.Array), do: layer
  def convert(:group, %Mlx.Distributed.Group{} = group, _name), do: group
  def convert(:type, {:type, type}, _name), do: type
  def convert(:text, text, _name) when is_binary(text), do: text
  # A file of Python is known by its path.
  def convert(:file, {:file, _path} = file, _name), do: file
  def convert(:path, {:file, path}, _name), do: path
  def convert(:path, path, _name) when is_binary(path), do: path
  def convert(:word, text, _name) when is_binary(text), do: String.to_atom(text)

  def convert(:stream, %Mlx.Stream{} = stream, _name), do: stream
  def convert(:stream, {:device, device}, _name), do: device
  def convert(:device, {:device, device}, _name), do: device

  # One integer or several: an axis, or a list of axes.
  def convert(:axes, {:tuple, axes}, name), do: convert({:list, :integer}, axes, name)
  def convert(:axes, axes, name) when is_list(axes), do: convert({:list, :integer}, axes, name)
  def convert(:axes, axis, name), do: convert(:integer, axis, name)

  def convert(:shape, {:tuple, sizes}, name), do: convert(:shape, sizes, name)
  def convert(:shape, sizes, name) when is_list(sizes), do: List.to_tuple(convert({:list, :integer}, sizes, name))
  def convert(:shape, size, name), do: {convert(:integer, size, name)}

  # One for all axes, or a tuple of one for each.
  def convert({:per_axis, kind}, {:tuple, values}, name), do: List.to_tuple(convert({:list, kind}, values, name))
  def convert({:per_axis, kind}, value, name), do: convert(kind, value, name)

  def convert({:pair, kind}, pair, name), do: List.to_tuple(convert({:list, kind}, pair, name))

  def convert({:map, kind}, %{} = map, _name) when not is_struct(map) do
    Map.new(map, fn {key, value} -> {key, convert(kind, value, key)} end)
  end

  def convert({:list, kind}, {:tuple, values}, name), do: convert({:list, kind}, values, name)
  def convert({:list, kind}, values, name) when is_list(values), do: Enum.map(values, &convert(kind, &1, name))

  def convert({:either, kinds}, value, name) do
    first_of(kinds, kinds, value, name)
  end

  def convert(kind, value, name),
    do: type_error!("#{name}: expected a value of the kind #{inspect(kind)}, got: #{inspect(value)}")

  defp first_of([], kinds, value, name) do
    type_error!("#{name}: no value of the kinds #{inspect(kinds)}: #{inspect(value)}")
  end

  defp first_of([kind | others], kinds, value, name) do
    convert(kind, value, name)
  rescue
    PythonError -> first_of(others, kinds, value, name)
  end
end
