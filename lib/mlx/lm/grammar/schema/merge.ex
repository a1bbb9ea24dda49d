defmodule Mlx.LM.Grammar.Schema.Merge do
  @moduledoc false
  # The one schema of the values that fit two: keywords as `Keywords.read/2` gives them, of `allOf`, of a `$ref` with keywords
  # beside it, and of a choice with keywords beside it.

  alias Mlx.LM.Grammar.Schema.{Document, Keywords}

  # The most branches that two choices may have together.
  @branches 256

  @doc """
  The keywords that both say. Throws `:none` where no value has both, and `{:wrong, message}`.
  """
  @spec keywords(map(), map(), [String.t()]) :: map()
  def keywords(a, b, path) do
    {a, b} = {described(a, b, path), described(b, a, path)}
    Map.merge(a, b, fn name, one, other -> both(name, one, other, path) end)
  end

  # The properties and elements that the other says something of.
  defp described(a, b, _path) do
    a |> properties(b) |> elements(b)
  end

  defp properties(a, b) do
    if Map.has_key?(a, "properties") or Map.has_key?(a, "additionalProperties") do
      {:object, own} = Map.get(a, "properties", {:object, []})
      {:object, others} = Map.get(b, "properties", {:object, []})
      more = Map.get(a, "additionalProperties", true)

      pairs =
        own ++ for({name, _schema} <- others, more != true, not List.keymember?(own, name, 0), do: {name, more})

      a = if pairs == [] and not Map.has_key?(a, "properties"), do: a, else: Map.put(a, "properties", {:object, pairs})
      if Map.has_key?(a, "additionalProperties") or not named?(b), do: a, else: Map.put(a, "additionalProperties", true)
    else
      a
    end
  end

  # Of two schemas that name properties, that without a word on others lets them be as the other says.
  defp named?(keywords), do: Map.has_key?(keywords, "additionalProperties")

  defp elements(a, b) do
    case {a, b} do
      {%{"items" => items}, %{"prefixItems" => others}} ->
        own = Map.get(a, "prefixItems", [])
        Map.put(a, "prefixItems", own ++ List.duplicate(items, max(length(others) - length(own), 0)))

      _other ->
        a
    end
  end

  @doc "The schema of two schemas."
  @spec schemas(Document.t(), Document.t()) :: Document.t()
  def schemas(a, b) when a in [true, [], {:object, []}], do: b
  def schemas(a, b) when b in [true, [], {:object, []}], do: a
  def schemas(a, b) when a == false or b == false, do: false
  def schemas(same, same), do: same
  def schemas(a, b), do: {:object, [{"allOf", [a, b]}]}

  defp both(_name, same, same, _path), do: same

  defp both("type", a, b, _path) do
    case Enum.flat_map(a, &common(&1, b)) |> Enum.uniq() do
      [] -> throw(:none)
      types -> types
    end
  end

  defp both("enum", a, b, _path) do
    case Enum.filter(a, fn value -> Enum.any?(b, &Document.same?(value, &1)) end) do
      [] -> throw(:none)
      values -> values
    end
  end

  defp both("properties", {:object, a}, {:object, b}, _path) do
    shared = for {name, schema} <- a, do: {name, joined(schema, List.keyfind(b, name, 0))}
    {:object, shared ++ Enum.reject(b, fn {name, _schema} -> List.keymember?(a, name, 0) end)}
  end

  defp both("required", a, b, _path), do: Enum.uniq(a ++ b)
  defp both(name, a, b, _path) when name in ["additionalProperties", "items"], do: schemas(a, b)

  defp both("prefixItems", a, b, _path) do
    {short, long} = if length(a) < length(b), do: {a, b}, else: {b, a}
    {front, rest} = Enum.split(long, length(short))
    Enum.zip_with(front, short, &schemas/2) ++ rest
  end

  defp both(name, a, b, _path) when name in ["minItems", "minLength", "minimum", "exclusiveMinimum"], do: max(a, b)
  defp both(name, a, b, _path) when name in ["maxItems", "maxLength", "maximum", "exclusiveMaximum"], do: min(a, b)
  defp both(name, a, b, _path) when name in ["pattern", "format"], do: Enum.uniq(a ++ b)

  defp both("multipleOf", a, b, _path) when is_integer(a) and is_integer(b), do: div(a * b, Integer.gcd(a, b))

  defp both("anyOf", a, b, path) do
    if length(a) * length(b) > @branches, do: Keywords.refuse!("anyOf", path, "there are too many branches together")
    for one <- a, other <- b, do: schemas(one, other)
  end

  defp both("uniqueItems", _a, _b, _path), do: false
  defp both(name, _a, _b, path), do: Keywords.refuse!(name, path, "it is said twice, in ways that do not go together")

  defp joined(schema, nil), do: schema
  defp joined(schema, {_name, other}), do: schemas(schema, other)

  defp common("integer", types), do: if("integer" in types or "number" in types, do: ["integer"], else: [])

  defp common("number", types),
    do: if("number" in types, do: ["number"], else: if("integer" in types, do: ["integer"], else: []))

  defp common(type, types), do: if(type in types, do: [type], else: [])
end
