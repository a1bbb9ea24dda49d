defmodule Mlx.LM.HTTP.Fields do
  @moduledoc false
  # Reads an object of JSON by a table of its fields, `{name, type, target}`. What is not in the table, or not of its type, is a
  # failure that names the field. Null is as if the field were not there.
  #
  #   | type | takes |
  #   | --- | --- |
  #   | `:string`, `:boolean`, `:object`, `:any` | what the name says |
  #   | `{:integer, low, high}`, `{:number, low, high}` | a number between, where a bound may be nil |
  #   | `{:one_of, values}` | one of some values |
  #   | `{:list, type}`, `{:map, type}` | a list, or an object, of such values |
  #   | `{:either, types}` | a value of one of them |
  #   | `{:fields, table}` | an object that this table reads |
  #   | `{:required, type}` | the type, and the field must be there |
  #   | `:unsupported` | nothing: the field is known to the interface, and this server does not do it |
  #
  #   | target | what becomes of the value |
  #   | --- | --- |
  #   | `{:option, name}` | it is this option of the generation |
  #   | `{:template, name}` | it is this variable of the chat template |
  #   | `:keep` | the route reads it, by the name of the field |
  #   | `:nothing` | the values that the type takes ask for nothing, such as `store: false` |

  alias Mlx.LM.HTTP.Failure

  @type type :: atom() | tuple()
  @type row :: {String.t(), type(), :keep | :nothing | {:option, atom()} | {:template, atom()}}
  @type t :: %{kept: %{String.t() => term()}, options: keyword(), template: keyword()}

  # As deep as values are read.
  @deepest 64

  @doc "The values of an object by a table. `place` is where the object stands in the request, such as `\"messages[0]\"`."
  @spec read(term(), [row()], String.t() | nil) :: t()
  def read(object, table, place \\ nil)

  def read(%{} = object, table, place) do
    known = Map.new(table, fn {name, type, target} -> {name, {type, target}} end)
    for {name, _value} <- Enum.sort(object), not is_map_key(known, name), do: unknown!(name, place, table)

    for {name, type, target} <- table, reduce: %{kept: %{}, options: [], template: []} do
      result ->
        case {object[name], type} do
          {nil, {:required, _type}} -> Failure.fail!(:invalid, "#{at(place, name)} is missing", at(place, name))
          {nil, _type} -> result
          {value, type} -> put(result, name, value!(value, type, at(place, name), 0), target)
        end
    end
  end

  def read(_other, _table, place), do: Failure.fail!(:invalid, "#{place || "the body"} must be an object", place)

  defp put(result, name, value, :keep), do: put_in(result.kept[name], value)
  defp put(result, _name, _value, :nothing), do: result
  defp put(result, _name, value, {:option, option}), do: %{result | options: [{option, value} | result.options]}
  defp put(result, _name, value, {:template, name}), do: %{result | template: [{name, value} | result.template]}

  defp unknown!(name, place, table) do
    names = for {name, type, _target} <- table, type != :unsupported, do: name
    near = Enum.max_by(names, &String.jaro_distance(&1, name), fn -> "" end)
    hint = if String.jaro_distance(near, name) > 0.8, do: "; is #{near} meant?", else: ""
    Failure.fail!(:unknown_field, "the field #{at(place, shown(name))} is unknown#{hint}", at(place, shown(name)))
  end

  defp at(nil, name), do: name
  defp at(place, name), do: "#{place}.#{name}"

  defp value!(_value, :unsupported, place, _depth) do
    Failure.fail!(:unsupported, "the field #{place} is not supported by this server", place)
  end

  defp value!(value, {:required, type}, place, depth), do: value!(value, type, place, depth)
  defp value!(value, {:fields, table}, place, _depth) when is_map(value), do: read(value, table, place).kept

  defp value!(value, {:list, type}, place, depth) when is_list(value) and depth < @deepest do
    for {value, index} <- Enum.with_index(value), do: value!(value, type, "#{place}[#{index}]", depth + 1)
  end

  defp value!(value, {:map, type}, place, depth) when is_map(value) and depth < @deepest do
    for {name, value} <- value, into: %{}, do: {name, value!(value, type, at(place, shown(name)), depth + 1)}
  end

  defp value!(value, {:either, types}, place, depth) do
    case Enum.find(types, &like?(value, &1)) do
      nil -> wrong!(value, {:either, types}, place)
      type -> value!(value, type, place, depth)
    end
  end

  defp value!(value, type, place, _depth), do: if(of?(value, type), do: value, else: wrong!(value, type, place))

  # Whether the value is of the kind, so that an error tells of what is inside of it.
  defp like?(value, {:list, _type}), do: is_list(value)
  defp like?(value, {kind, _type}) when kind in [:map, :fields], do: is_map(value)
  defp like?(value, type), do: of?(value, type)

  defp of?(value, :string), do: is_binary(value)
  defp of?(value, :boolean), do: is_boolean(value)
  defp of?(value, :object), do: is_map(value)
  defp of?(_value, :any), do: true
  defp of?(value, {:integer, low, high}), do: is_integer(value) and between?(value, low, high)
  defp of?(value, {:number, low, high}), do: is_number(value) and between?(value, low, high)
  defp of?(value, {:one_of, values}), do: value in values
  defp of?(_value, _type), do: false

  defp between?(value, low, high), do: (low == nil or value >= low) and (high == nil or value <= high)

  @spec wrong!(term(), type(), String.t()) :: no_return()
  defp wrong!(value, {:one_of, [single]}, place) do
    text = "the field #{place} is supported only as #{JSON.encode!(single)}, and is #{shown(value)}"
    Failure.fail!(:unsupported, text, place)
  end

  defp wrong!(value, type, place),
    do: Failure.fail!(:invalid, "#{place} must be #{words(type)}, and is #{shown(value)}", place)

  defp words(:string), do: "a string"
  defp words(:boolean), do: "true or false"
  defp words(:object), do: "an object"
  defp words({kind, low, high}) when kind in [:integer, :number], do: "#{article(kind)} #{kind}#{range(low, high)}"
  defp words({:one_of, values}), do: "one of #{Enum.map_join(values, ", ", &JSON.encode!/1)}"
  defp words({:list, type}), do: "a list, each #{words(type)}"
  defp words({kind, _type}) when kind in [:map, :fields], do: "an object"
  defp words({:either, types}), do: Enum.map_join(types, " or ", &words/1)
  defp words({:required, type}), do: words(type)
  defp words(:any), do: "a value"

  defp article(:integer), do: "an"
  defp article(:number), do: "a"
  defp range(nil, nil), do: ""
  defp range(low, nil), do: " from #{low} on"
  defp range(nil, high), do: " up to #{high}"
  defp range(low, high), do: " from #{low} to #{high}"

  @doc "A value as it is shown in messages."
  @spec shown(term()) :: String.t()
  def shown(value) when is_binary(value) and byte_size(value) <= 80, do: value |> inspect() |> String.trim("\"")
  def shown(value) when is_binary(value), do: String.slice(value, 0, 80) <> "..."
  def shown(value) when is_map(value), do: "an object"
  def shown(value) when is_list(value), do: "a list"
  def shown(value), do: JSON.encode!(value)
end
