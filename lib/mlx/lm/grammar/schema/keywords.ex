defmodule Mlx.LM.Grammar.Schema.Keywords do
  @moduledoc false
  # The keywords of JSON Schema that are enforced, those that say nothing of a value, and the kinds of values that they take.
  #
  # `read/2` makes a map of the keywords of one schema: constants are enumerations of one, and patterns and formats are lists.

  alias Mlx.Arguments.Given
  alias Mlx.LM.Grammar.Schema.Document

  @silent ~w(title description default examples example $schema $id $comment $defs definitions readOnly writeOnly deprecated) ++
            ~w(contentEncoding contentMediaType contentSchema)

  # By the one type that they are about.
  @enforced [
    {nil,
     [
       {"type", :types},
       {"enum", :list},
       {"const", :any},
       {"anyOf", :schemas},
       {"oneOf", :schemas},
       {"allOf", :schemas},
       {"$ref", :string}
     ]},
    {"object", [{"properties", :named_schemas}, {"required", :strings}, {"additionalProperties", :schema}]},
    {"array",
     [
       {"items", :schema},
       {"prefixItems", :schemas},
       {"minItems", :count},
       {"maxItems", :count},
       {"uniqueItems", :not_true}
     ]},
    {"string", [{"minLength", :count}, {"maxLength", :count}, {"pattern", :string}, {"format", :string}]},
    {"number",
     [
       {"minimum", :number},
       {"maximum", :number},
       {"exclusiveMinimum", :number},
       {"exclusiveMaximum", :number},
       {"multipleOf", :positive}
     ]}
  ]

  @kinds for {_type, keywords} <- @enforced, keyword <- keywords, into: %{}, do: keyword
  @known @kinds |> Map.keys() |> Enum.sort() |> Enum.join(", ")
  @types for {type, keywords} <- @enforced, type != nil, {keyword, _kind} <- keywords, into: %{}, do: {keyword, type}
  @all ~w(null boolean integer number string array object)

  @doc "The keywords of a schema by their names. Throws `{:wrong, message}`, which has the keyword and its place."
  @spec read([{String.t(), Document.t()}], [String.t()]) :: %{String.t() => term()}
  def read(pairs, path) do
    for {name, value} <- pairs, name not in @silent, reduce: %{} do
      keywords ->
        case @kinds do
          %{^name => kind} -> keyword(keywords, name, value!(value, kind, name, path), path)
          _unknown -> refuse!(name, path, "it is none of #{@known}")
        end
    end
  end

  defp keyword(keywords, "const", value, _path), do: enumerated(keywords, [value])
  defp keyword(keywords, "enum", values, _path), do: enumerated(keywords, values)

  defp keyword(keywords, name, value, path) when name in ["pattern", "format"],
    do: Map.put(keywords, name, [{value, path}])

  defp keyword(keywords, name, value, _path), do: Map.put(keywords, name, value)

  defp enumerated(%{"enum" => others} = keywords, values),
    do: %{keywords | "enum" => Enum.filter(others, fn a -> Enum.any?(values, &Document.same?(a, &1)) end)}

  defp enumerated(keywords, values), do: Map.put(keywords, "enum", values)

  @doc "Refuses a keyword, at a place of the schema."
  @spec refuse!(String.t(), [String.t()], String.t()) :: no_return()
  def refuse!(name, path, problem) do
    throw(
      {:wrong, "the keyword #{inspect(name)} at #{Document.place(Enum.reverse(path))} cannot be enforced: #{problem}"}
    )
  end

  defp value!(value, kind, name, path) do
    case value(value, kind) do
      {:ok, value} ->
        value

      :error ->
        place = Document.place(Enum.reverse(path))
        shown = if match?({:object, _}, value), do: "an object", else: Given.text(value)
        throw({:wrong, "the keyword #{inspect(name)} at #{place}: expected #{words(kind)}, got: #{shown}"})
    end
  end

  defp value(value, :any), do: {:ok, value}
  defp value(value, :types) when is_binary(value), do: value([value], :types)

  defp value([_ | _] = values, :types),
    do: if(Enum.all?(values, &(&1 in @all)), do: {:ok, Enum.uniq(values)}, else: :error)

  defp value([_ | _] = values, :list), do: {:ok, values}
  defp value([_ | _] = values, :schemas), do: if(Enum.all?(values, &schema?/1), do: {:ok, values}, else: :error)
  defp value([], :named_schemas), do: {:ok, {:object, []}}

  defp value({:object, pairs}, :named_schemas),
    do: if(Enum.all?(pairs, fn {_name, schema} -> schema?(schema) end), do: {:ok, {:object, pairs}}, else: :error)

  defp value(values, :strings) when is_list(values),
    do: if(Enum.all?(values, &is_binary/1), do: {:ok, Enum.uniq(values)}, else: :error)

  defp value(value, :schema), do: if(schema?(value), do: {:ok, value}, else: :error)
  defp value(value, :string) when is_binary(value), do: {:ok, value}
  defp value(value, :count) when is_integer(value) and value >= 0, do: {:ok, value}
  defp value(value, :count) when is_float(value) and value >= 0 and trunc(value) == value, do: {:ok, trunc(value)}
  defp value(value, :number) when is_number(value), do: {:ok, value}
  defp value(value, :positive) when is_number(value) and value > 0, do: {:ok, value}
  defp value(false, :not_true), do: {:ok, false}
  defp value(_value, _kind), do: :error

  # An empty object is written as an empty list where a schema is a term of Elixir.
  defp schema?({:object, _pairs}), do: true
  defp schema?(value), do: is_boolean(value) or value == []

  defp words(:types), do: "a type or a list of types among #{Enum.join(@all, ", ")}"
  defp words(:list), do: "a list of one or more values"
  defp words(:schemas), do: "a list of one or more schemas"
  defp words(:named_schemas), do: "an object of schemas"
  defp words(:strings), do: "a list of strings"
  defp words(:schema), do: "a schema, which is an object, true or false"
  defp words(:string), do: "a string"
  defp words(:count), do: "an integer from 0 on"
  defp words(:number), do: "a number"
  defp words(:positive), do: "a number above 0"
  defp words(:not_true), do: "false, as elements that differ from each other cannot be enforced"

  @doc "All types."
  @spec types() :: [String.t()]
  def types, do: @all

  @doc "The types that values of a schema may have."
  @spec allowed(map()) :: [String.t()]
  def allowed(%{"type" => types}), do: types
  def allowed(_keywords), do: @all -- ["integer"]

  @doc "The types of the values that are written: where no type is said, those that the other keywords are about."
  @spec written(map()) :: [String.t()]
  def written(%{"type" => types}), do: types

  def written(keywords) do
    case for({name, _value} <- keywords, type = @types[name], uniq: true, do: type) do
      [] -> @all -- ["integer"]
      types -> types
    end
  end
end
