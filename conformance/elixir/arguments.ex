defmodule Mlx.Conformance.Arguments do
  @moduledoc """
  Binds the arguments of a Python call to the parameters of a signature (see `Mlx.Conformance.Signatures`), converts them to
  what `Mlx` takes, and says which are positional and which are options there.

  A wrong number, an unknown name or a value of another kind is a `TypeError`, as it is with MLX's binding.
  """

  import Mlx.Conformance.PythonError, only: [type_error!: 1]

  alias Mlx.Conformance.Kinds

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
    {Map.put(values, name, Enum.map(arguments, &Kinds.convert(parameter.kind, &1, name))), []}
  end

  defp take([{name, parameter} | parameters], [argument | arguments], values) do
    take(parameters, arguments, Map.put(values, name, converted(parameter, argument, name)))
  end

  defp take(_parameters, arguments, values), do: {values, arguments}

  defp put(values, name, parameters, key, value) do
    case Enum.find(parameters, fn {parameter, spec} -> Atom.to_string(parameter) == key or spec[:named] end) do
      {parameter, %{named: true, kind: kind}} ->
        Map.update(
          values,
          parameter,
          %{key => Kinds.convert(kind, value, key)},
          &Map.put(&1, key, Kinds.convert(kind, value, key))
        )

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
  defp converted(%{kind: kind}, value, name), do: Kinds.convert(kind, value, name)
end
