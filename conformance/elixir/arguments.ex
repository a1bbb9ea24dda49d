defmodule Mlx.Conformance.Arguments do
  @moduledoc """
  Binds the arguments of a Python call to the parameters of a signature (see `Mlx.Conformance.Signatures`), converts them to
  what `Mlx` takes, and says which are positional and which are options there.

  A wrong number, an unknown name or a value of another kind is a `TypeError`, as it is with MLX's binding.
  """

  alias Mlx.Conformance.PythonError
  import PythonError, only: [type_error!: 1]

  @doc "The converted values of the parameters that were given or have a default."
  def bind(name, parameters, arguments, options) do
    {values, rest} = take(parameters, arguments, %{})
    if rest != [], do: type_error!("#{name}: too many arguments")

    options
    |> Enum.reduce(values, fn {key, value}, values -> put(values, name, parameters, key, value) end)
    |> fill(name, parameters)
  end

  @doc "The positional arguments of the Elixir function."
  def positional(bound, parameters) do
    for {name, parameter} <- parameters, not match?(%{option: _}, parameter), do: Map.fetch!(bound, name)
  end

  @doc "The options of the Elixir function: `None` leaves one out, unless the parameter is `nullable`."
  def options(bound, parameters) do
    for {name, %{option: option} = parameter} <- parameters,
        {:ok, value} <- [Map.fetch(bound, name)],
        value != nil or parameter[:nullable],
        do: {option, value}
  end

  defp take([{name, %{rest: true} = parameter} | _parameters], arguments, values) do
    {Map.put(values, name, Enum.map(arguments, &convert(parameter.kind, &1, name))), []}
  end

  defp take([{name, parameter} | parameters], [argument | arguments], values) do
    take(parameters, arguments, Map.put(values, name, converted(parameter, argument, name)))
  end

  defp take(_parameters, arguments, values), do: {values, arguments}

  defp put(values, name, parameters, key, value) do
    case Enum.find(parameters, fn {parameter, spec} -> Atom.to_string(parameter) == key or spec[:named] end) do
      {parameter, %{named: true, kind: kind}} ->
        Map.update(values, parameter, %{key => convert(kind, value, key)}, &Map.put(&1, key, convert(kind, value, key)))

      nil ->
        type_error!("#{name}: there is no argument #{key}")

      {parameter, _} when is_map_key(values, parameter) ->
        type_error!("#{name}: #{key} is given twice")

      {parameter, spec} ->
        Map.put(values, parameter, converted(spec, value, parameter))
    end
  end

  defp fill(values, function, parameters) do
    Enum.reduce(parameters, values, fn
      {name, _parameter}, values when is_map_key(values, name) -> values
      {name, %{default: default}}, values -> Map.put(values, name, default)
      {_name, %{option: _}}, values -> values
      {name, _parameter}, _values -> type_error!("#{function}: the argument #{name} is missing")
    end)
  end

  defp converted(%{option: _}, nil, _name), do: nil
  defp converted(%{kind: {:nullable, _kind}}, nil, _name), do: nil
  defp converted(%{default: default}, nil, _name), do: default
  defp converted(%{kind: kind}, value, name), do: convert(kind, value, name)

  # What `Mlx` takes for a value of Python, by the kind of the parameter.

  defp convert({:nullable, _kind}, nil, _name), do: nil
  defp convert({:nullable, kind}, value, name), do: convert(kind, value, name)
  defp convert(:any, value, _name), do: value
  defp convert(:array, %Mlx.Array{} = array, _name), do: array
  defp convert(:array, {:buffer, array}, _name), do: array

  defp convert(:operand, {:buffer, array}, _name), do: array
  defp convert(:operand, {:complex, real, imaginary}, _name), do: Mlx.array({real, imaginary})
  defp convert(:operand, %Mlx.Array{} = array, _name), do: array
  defp convert(:operand, x, _name) when is_number(x) or is_boolean(x), do: x
  defp convert(:operand, x, _name) when x in [:nan, :infinity, :neg_infinity], do: x

  defp convert(:number, x, _name) when is_number(x) or x in [:nan, :infinity, :neg_infinity], do: x
  defp convert(:number, x, _name) when is_boolean(x), do: if(x, do: 1, else: 0)
  defp convert(:integer, x, _name) when is_integer(x), do: x
  defp convert(:integer, x, _name) when is_boolean(x), do: if(x, do: 1, else: 0)

  defp convert(:integer, {:buffer, %{shape: {}, type: type} = array}, _name) when type not in [:f16, :f32, :f64],
    do: Mlx.to_number(array)

  defp convert(:boolean, x, _name) when is_boolean(x), do: x
  defp convert(:type, {:type, type}, _name), do: type
  defp convert(:text, text, _name) when is_binary(text), do: text
  # A file of Python is known by its path.
  defp convert(:file, {:file, _path} = file, _name), do: file
  defp convert(:path, {:file, path}, _name), do: path
  defp convert(:path, path, _name) when is_binary(path), do: path
  defp convert(:word, text, _name) when is_binary(text), do: String.to_atom(text)

  defp convert(:stream, %Mlx.Stream{} = stream, _name), do: stream
  defp convert(:stream, {:device, device}, _name), do: device
  defp convert(:device, {:device, device}, _name), do: device

  # One integer or several: an axis, or a list of axes.
  defp convert(:axes, {:tuple, axes}, name), do: convert({:list, :integer}, axes, name)
  defp convert(:axes, axes, name) when is_list(axes), do: convert({:list, :integer}, axes, name)
  defp convert(:axes, axis, name), do: convert(:integer, axis, name)

  defp convert(:shape, {:tuple, sizes}, name), do: convert(:shape, sizes, name)
  defp convert(:shape, sizes, name) when is_list(sizes), do: List.to_tuple(convert({:list, :integer}, sizes, name))
  defp convert(:shape, size, name), do: {convert(:integer, size, name)}

  defp convert({:map, kind}, %{} = map, _name) when not is_struct(map) do
    Map.new(map, fn {key, value} -> {key, convert(kind, value, key)} end)
  end

  defp convert({:list, kind}, {:tuple, values}, name), do: convert({:list, kind}, values, name)
  defp convert({:list, kind}, values, name) when is_list(values), do: Enum.map(values, &convert(kind, &1, name))

  defp convert({:either, kinds}, value, name) do
    Enum.find_value(kinds, fn kind ->
      try do
        {:ok, convert(kind, value, name)}
      rescue
        PythonError -> nil
      end
    end)
    |> case do
      {:ok, converted} -> converted
      nil -> type_error!("#{name}: no value of the kinds #{inspect(kinds)}: #{inspect(value)}")
    end
  end

  defp convert(kind, value, name),
    do: type_error!("#{name}: expected a value of the kind #{inspect(kind)}, got: #{inspect(value)}")
end
