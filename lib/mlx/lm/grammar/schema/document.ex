defmodule Mlx.LM.Grammar.Schema.Document do
  @moduledoc false
  # A schema as it is read: objects are `{:object, pairs}` in their order, with strings as names, and all else is as
  # `JSON.decode/1` gives it.

  alias Mlx.Arguments.Given

  @type t :: boolean() | nil | number() | String.t() | [t()] | {:object, [{String.t(), t()}]}

  # Deeper values are refused, wide ones as well.
  @depth 500
  @values 100_000

  @doc "Reads a schema, a text of JSON or a map. Throws `{:wrong, message}`."
  @spec read(term()) :: t()
  def read(text) when is_binary(text) do
    push = fn name, value, pairs -> [{name, value} | pairs] end
    finish = fn pairs, outer -> {{:object, ordered(pairs)}, outer} end

    case JSON.decode(text, nil, object_start: fn _outer -> [] end, object_push: push, object_finish: finish) do
      {value, nil, rest} ->
        if String.trim(rest) == "",
          do: checked(value),
          else: throw({:wrong, "the text of the schema goes on behind its value"})

      {:error, reason} ->
        throw({:wrong, "the schema is no JSON: #{inspect(reason)}"})
    end
  end

  def read(value), do: value |> normal([]) |> checked()

  # A name that comes twice has its last value.
  defp ordered(pairs), do: pairs |> Enum.uniq_by(&elem(&1, 0)) |> Enum.reverse()

  defp checked(value) do
    count(value, 0, 0)
    value
  end

  defp count(_value, depth, _count) when depth > @depth,
    do: throw({:wrong, "the schema is nested more than #{@depth} deep"})

  defp count(_value, _depth, count) when count > @values,
    do: throw({:wrong, "the schema has more than #{@values} values"})

  defp count({:object, pairs}, depth, count),
    do: Enum.reduce(pairs, count + 1, fn {_name, value}, count -> count(value, depth + 1, count) end)

  defp count(values, depth, count) when is_list(values), do: Enum.reduce(values, count + 1, &count(&1, depth + 1, &2))
  defp count(_leaf, _depth, count), do: count + 1

  defp normal(_value, path) when length(path) > @depth,
    do: throw({:wrong, "the schema is nested more than #{@depth} deep"})

  defp normal(map, path) when is_map(map) and not is_struct(map) do
    pairs = for {name, value} <- map, do: {name!(name, path), value}

    first =
      with %{} <- Map.new(pairs),
           required when is_list(required) <- Map.new(pairs)["required"],
           do: required,
           else: (_ -> [])

    {:object, for({name, value} <- Enum.sort(pairs), do: {name, named(name, value, first, path)})}
  end

  defp normal([{_name, _value} | _] = pairs, path) do
    if not Enum.all?(pairs, &match?({_name, _value}, &1)), do: wrong!(pairs, path)

    {:object,
     ordered(for {name, value} <- Enum.reverse(pairs), do: name!(name, path) |> then(&{&1, normal(value, [&1 | path])}))}
  end

  defp normal(list, path) when is_list(list) do
    if List.improper?(list), do: wrong!(list, path)
    for {value, index} <- Enum.with_index(list), do: normal(value, ["#{index}" | path])
  end

  defp normal(value, _path) when is_boolean(value) or is_nil(value) or is_number(value), do: value
  defp normal(value, _path) when is_atom(value), do: Atom.to_string(value)

  defp normal(value, path) when is_binary(value), do: if(String.valid?(value), do: value, else: wrong!(value, path))
  defp normal(value, path), do: wrong!(value, path)

  # The properties of a map stand in the order of `required`.
  defp named("properties", properties, required, path) when is_map(properties) and not is_struct(properties) do
    {:object, pairs} = normal(properties, ["properties" | path])
    places = required |> Enum.map(&if(is_atom(&1), do: Atom.to_string(&1), else: &1)) |> Enum.with_index() |> Map.new()
    {:object, Enum.sort_by(pairs, fn {name, _value} -> Map.get(places, name, map_size(places)) end)}
  end

  defp named(name, value, _required, path), do: normal(value, [name | path])

  defp name!(name, _path) when is_binary(name), do: name
  defp name!(name, _path) when is_atom(name) and name not in [nil, true, false], do: Atom.to_string(name)
  defp name!(name, path), do: wrong!(name, path)

  @spec wrong!(term(), [String.t()]) :: no_return()
  defp wrong!(value, path) do
    throw({:wrong, "at #{place(Enum.reverse(path))}: expected a value of JSON, got: #{Given.text(value)}"})
  end

  @doc "A place in the schema as a JSON pointer."
  @spec place([String.t()]) :: String.t()
  def place(path) do
    "#" <> Enum.map_join(path, fn name -> "/" <> (name |> String.replace("~", "~0") |> String.replace("/", "~1")) end)
  end

  @doc "The value at a JSON pointer, or `:error`."
  @spec at(t(), String.t()) :: {:ok, t()} | :error
  def at(document, "#"), do: {:ok, document}

  def at(document, "#/" <> pointer) do
    pointer
    |> String.split("/")
    |> Enum.map(fn name -> name |> URI.decode() |> String.replace("~1", "/") |> String.replace("~0", "~") end)
    |> Enum.reduce_while({:ok, document}, fn name, {:ok, value} ->
      case below(value, name) do
        {:ok, value} -> {:cont, {:ok, value}}
        :error -> {:halt, :error}
      end
    end)
  end

  def at(_document, _reference), do: :error

  defp below({:object, pairs}, name), do: with({_name, value} <- List.keyfind(pairs, name, 0, :error), do: {:ok, value})

  defp below(list, name) when is_list(list) do
    case Integer.parse(name) do
      {index, ""} when index >= 0 -> Enum.fetch(list, index)
      _other -> :error
    end
  end

  defp below(_leaf, _name), do: :error

  @doc "A value as JSON."
  @spec encode(t()) :: String.t()
  def encode(value), do: value |> written() |> IO.iodata_to_binary()

  defp written({:object, pairs}),
    do: [
      "{",
      Enum.map_intersperse(pairs, ", ", fn {name, value} -> [JSON.encode!(name), ": ", written(value)] end),
      "}"
    ]

  defp written(list) when is_list(list), do: ["[", Enum.map_intersperse(list, ", ", &written/1), "]"]
  defp written(leaf), do: JSON.encode!(leaf)

  @doc "Whether two values are the same JSON, where numbers are compared as numbers and the order of names does not count."
  @spec same?(t(), t()) :: boolean()
  def same?(a, b), do: unordered(a) == unordered(b)

  defp unordered({:object, pairs}), do: {:object, Map.new(pairs, fn {name, value} -> {name, unordered(value)} end)}
  defp unordered(list) when is_list(list), do: Enum.map(list, &unordered/1)
  defp unordered(number) when is_float(number), do: if(trunc(number) == number, do: trunc(number), else: number)
  defp unordered(leaf), do: leaf
end
