defmodule Mlx.LM.Grammar.Schema.Values do
  @moduledoc false
  # Whether a value fits a schema: for the values of `enum` and `const`, which the other keywords may leave out, and for
  # schemas of `oneOf` that have to differ.

  alias Mlx.LM.Grammar.{Automaton, Budget, Schema}
  alias Mlx.LM.Grammar.Schema.{Document, Keywords, Reader}

  @doc "Whether a value fits what a schema says, once it is read."
  @spec fits?(map() | boolean(), Document.t(), Document.t(), [String.t()]) :: boolean()
  def fits?(read, _value, _root, _path) when is_boolean(read), do: read

  def fits?(keywords, value, root, path) do
    type = type(value)
    Enum.all?(keywords, fn {name, says} -> fits?(name, says, value, type, {keywords, root, path}) end)
  end

  defp type(value) when is_boolean(value), do: "boolean"
  defp type(nil), do: "null"
  defp type(value) when is_binary(value), do: "string"
  defp type(value) when is_list(value), do: "array"
  defp type({:object, _pairs}), do: "object"
  defp type(value) when is_integer(value), do: "integer"
  defp type(value), do: if(trunc(value) == value, do: "integer", else: "number")

  @doc "The type of a value, where an integer is one, too, when it is written with a point."
  @spec type_of(Document.t()) :: String.t()
  def type_of(value), do: type(value)

  defp schema?(schema, value, root, path), do: schema |> Reader.read(root, path) |> fits?(value, root, path)

  defp fits?("type", types, _value, type, _context), do: type in types or (type == "integer" and "number" in types)
  defp fits?("enum", values, value, _type, _context), do: Enum.any?(values, &Document.same?(&1, value))
  defp fits?("anyOf", schemas, value, _type, {_, root, path}), do: Enum.any?(schemas, &schema?(&1, value, root, path))

  defp fits?("oneOf", schemas, value, _type, {_, root, path}),
    do: Enum.count(schemas, &schema?(&1, value, root, path)) == 1

  defp fits?("required", names, {:object, pairs}, _type, _context), do: Enum.all?(names, &List.keymember?(pairs, &1, 0))

  defp fits?("properties", {:object, schemas}, {:object, pairs}, _type, {_, root, path}) do
    Enum.all?(pairs, fn {name, value} ->
      case List.keyfind(schemas, name, 0) do
        {_name, schema} -> schema?(schema, value, root, path)
        nil -> true
      end
    end)
  end

  defp fits?("additionalProperties", schema, {:object, pairs}, _type, {keywords, root, path}) do
    {:object, named} = Map.get(keywords, "properties", {:object, []})
    Enum.all?(pairs, fn {name, value} -> List.keymember?(named, name, 0) or schema?(schema, value, root, path) end)
  end

  defp fits?("prefixItems", schemas, values, "array", {_, root, path}),
    do: schemas |> Enum.zip(values) |> Enum.all?(fn {schema, value} -> schema?(schema, value, root, path) end)

  defp fits?("items", schema, values, "array", {keywords, root, path}),
    do: values |> Enum.drop(length(Map.get(keywords, "prefixItems", []))) |> Enum.all?(&schema?(schema, &1, root, path))

  defp fits?("minItems", count, values, "array", _context), do: length(values) >= count
  defp fits?("maxItems", count, values, "array", _context), do: length(values) <= count
  defp fits?("minLength", count, value, "string", _context), do: length(String.to_charlist(value)) >= count
  defp fits?("maxLength", count, value, "string", _context), do: length(String.to_charlist(value)) <= count

  defp fits?(name, texts, value, "string", _context) when name in ["pattern", "format"] do
    Enum.all?(texts, fn {_text, path} = text -> name |> Schema.text_tree(text) |> matches?(value, name, path) end)
  end

  defp fits?(name, bound, value, type, _context) when type in ["integer", "number"] do
    case name do
      "minimum" -> value >= bound
      "maximum" -> value <= bound
      "exclusiveMinimum" -> value > bound
      "exclusiveMaximum" -> value < bound
      "multipleOf" when is_integer(bound) -> trunc(value) == value and rem(trunc(value), bound) == 0
      "multipleOf" -> value / bound == trunc(value / bound)
      _other -> true
    end
  end

  defp fits?(_name, _says, _value, _type, _context), do: true

  defp matches?(tree, value, name, path) do
    tree |> Automaton.new(MapSet.new(), Budget.new(5000)) |> Automaton.accepts?(value)
  catch
    :too_large -> Keywords.refuse!(name, path, "it is too large to be looked for in the values of \"enum\"")
  end
end
