defmodule Mlx.LM.Grammar.Schema.Disjoint do
  @moduledoc false
  # Whether no value that is written for one of two schemas fits the other, as far as it can be told: by their types, by
  # constants, by bounds of numbers, or by a required property of which it holds.

  alias Mlx.LM.Grammar.Schema.{Document, Keywords, Reader, Values}

  # How deep properties are looked into.
  @depth 8

  @doc "Whether two schemas that are read have no value in common that would be written."
  @spec disjoint?(map() | boolean(), map() | boolean(), Document.t()) :: boolean()
  def disjoint?(a, b, root), do: disjoint?(a, b, root, @depth)

  defp disjoint?(a, b, _root, _depth) when a == false or b == false, do: true
  defp disjoint?(a, b, _root, depth) when a == true or b == true or depth == 0, do: false
  defp disjoint?(%{"enum" => values}, b, root, _depth), do: not Enum.any?(values, &Values.fits?(b, &1, root, []))
  defp disjoint?(a, %{"enum" => values}, root, _depth), do: not Enum.any?(values, &Values.fits?(a, &1, root, []))

  defp disjoint?(%{"anyOf" => schemas} = a, b, root, depth),
    do: branches?(schemas, Map.delete(a, "anyOf"), b, root, depth)

  defp disjoint?(a, %{"anyOf" => schemas} = b, root, depth),
    do: branches?(schemas, Map.delete(b, "anyOf"), a, root, depth)

  defp disjoint?(a, b, root, depth) do
    types =
      Enum.uniq(common(Keywords.written(a), Keywords.allowed(b)) ++ common(Keywords.written(b), Keywords.allowed(a)))

    Enum.all?(types, &apart?(&1, a, b, root, depth))
  end

  defp branches?(schemas, rest, other, root, depth),
    do: Enum.all?(schemas, &disjoint?(Reader.join(rest, Reader.read(&1, root, []), []), other, root, depth - 1))

  # Integers are numbers.
  defp common(a, b), do: for(type <- numbers(a), type in numbers(b), do: type)
  defp numbers(types), do: types |> Enum.map(&if(&1 == "integer", do: "number", else: &1)) |> Enum.uniq()

  defp apart?("number", a, b, _root, _depth), do: before?(a, b) or before?(b, a)

  defp apart?("string", a, b, _root, _depth), do: shorter?(a, b, "Length") or shorter?(b, a, "Length")

  defp apart?("array", a, b, _root, _depth), do: shorter?(a, b, "Items") or shorter?(b, a, "Items")

  defp apart?("object", a, b, root, depth) do
    names = Enum.uniq(Map.get(a, "required", []) ++ Map.get(b, "required", []))

    Enum.any?(names, fn name ->
      disjoint?(property(a, name, root), property(b, name, root), root, depth - 1)
    end)
  end

  defp apart?(_type, _a, _b, _root, _depth), do: false

  defp before?(a, b) do
    case {least(b), most(a)} do
      {nil, _high} -> false
      {_low, nil} -> false
      {{low, inside}, {high, also}} -> high < low or (high == low and not (inside and also))
    end
  end

  defp least(keywords), do: bound(keywords["minimum"], keywords["exclusiveMinimum"], &>=/2)
  defp most(keywords), do: bound(keywords["maximum"], keywords["exclusiveMaximum"], &<=/2)

  defp bound(nil, nil, _beyond), do: nil
  defp bound(at, nil, _beyond), do: {at, true}
  defp bound(nil, past, _beyond), do: {past, false}
  defp bound(at, past, beyond), do: if(beyond.(past, at), do: {past, false}, else: {at, true})

  defp shorter?(a, b, what),
    do: is_map_key(a, "max" <> what) and is_map_key(b, "min" <> what) and a["max" <> what] < b["min" <> what]

  defp property(keywords, name, root) do
    {:object, pairs} = Map.get(keywords, "properties", {:object, []})

    case List.keyfind(pairs, name, 0) do
      {_name, schema} -> Reader.read(schema, root, [])
      nil -> keywords |> Map.get("additionalProperties", true) |> Reader.read(root, [])
    end
  end
end
