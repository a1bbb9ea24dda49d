defmodule Mlx.RandomSchema do
  @moduledoc """
  JSON Schemas drawn at random, of all keywords that grammars enforce. They are maps as `JSON.encode!/1` takes them.

  Every schema has a value: bounds are drawn in order, and constants fit what stands beside them.
  """

  @names ~w(id name α-β a"b tags size x/y note kind 日本 value)
  @patterns [
    "^[a-z]{2,5}$",
    "\\d",
    "^(ab|cd)+$",
    "^\\S+@\\S+$",
    "[^x]y?",
    "^[\\w-]{1,8}(\\.[A-Z]\"?)*$",
    "^é.*ß$",
    "^$|^[0-9]+$"
  ]
  @formats ~w(date time date-time duration uuid email hostname ipv4 ipv6 uri)

  @doc "The text of the schema of a number, which is always the same; every twentieth refers to itself."
  def numbered(number) do
    :rand.seed(:exsss, number)
    JSON.encode!(if rem(number, 20) == 0, do: recursive(), else: draw())
  end

  @doc "A schema whose values are nested at most so deep."
  def draw(depth \\ 3) do
    schema = if depth > 0 and Enum.random(1..3) > 1, do: nested(depth), else: leaf()
    if Enum.random(1..8) == 1, do: Map.put(schema, "description", "drawn"), else: schema
  end

  @doc "A schema that refers to itself."
  def recursive do
    node = %{
      "type" => "object",
      "properties" => %{"value" => leaf(), "next" => %{"anyOf" => [%{"type" => "null"}, %{"$ref" => "#/$defs/node"}]}},
      "required" => ["value", "next"],
      "additionalProperties" => false
    }

    %{"$ref" => "#/$defs/node", "$defs" => %{"node" => node}}
  end

  defp nested(depth) do
    case Enum.random(1..8) do
      n when n <= 3 -> object(depth)
      n when n <= 5 -> array(depth)
      6 -> %{"anyOf" => for(_ <- 1..Enum.random(1..3), do: draw(depth - 1))}
      7 -> %{"oneOf" => [tagged("a", depth), tagged("b", depth)]}
      8 -> all_of(depth)
    end
  end

  defp object(depth) do
    names = Enum.take_random(@names, Enum.random(0..4))
    schema = %{"type" => "object", "properties" => Map.new(names, &{&1, draw(depth - 1)})}
    schema = Map.put(schema, "required", Enum.filter(names, fn _ -> Enum.random(1..2) == 1 end))

    case Enum.random(1..4) do
      1 -> Map.put(schema, "additionalProperties", draw(depth - 2))
      2 -> schema
      _ -> Map.put(schema, "additionalProperties", false)
    end
  end

  defp array(depth) do
    low = Enum.random(0..3)
    schema = %{"type" => "array", "items" => draw(depth - 1)}
    schema = if Enum.random(1..2) == 1, do: Map.put(schema, "minItems", low), else: schema
    schema = if Enum.random(1..2) == 1, do: Map.put(schema, "maxItems", low + Enum.random(0..3)), else: schema
    if Enum.random(1..4) == 1, do: Map.put(schema, "prefixItems", for(_ <- 1..2, do: draw(depth - 1))), else: schema
  end

  defp tagged(tag, depth) do
    %{
      "type" => "object",
      "properties" => %{"kind" => %{"const" => tag}, "value" => draw(depth - 1)},
      "required" => ["kind"]
    }
  end

  defp all_of(depth) do
    one = %{"properties" => %{"a" => draw(depth - 1)}, "required" => ["a"]}
    other = %{"properties" => %{"b" => draw(depth - 1), "a" => %{}}, "required" => ["b"]}
    %{"type" => "object", "allOf" => [one, other]}
  end

  defp leaf do
    case Enum.random(1..12) do
      n when n <= 2 ->
        string()

      3 ->
        %{"type" => "string", "pattern" => Enum.random(@patterns)}

      4 ->
        %{"type" => "string", "format" => Enum.random(@formats)}

      n when n <= 6 ->
        bounded(%{"type" => "integer"}, fn -> Enum.random(-2000..2000) end)

      7 ->
        %{"type" => "integer", "multipleOf" => Enum.random(2..60), "minimum" => Enum.random(-100..100)}

      n when n <= 9 ->
        bounded(%{"type" => "number"}, fn -> Enum.random(-3000..3000) / Enum.random([1, 8, 100, 1000]) end)

      10 ->
        %{
          "enum" =>
            Enum.take_random([1, 2.5, "two", nil, true, [1, "x"], %{"a" => 1, "b" => []}, "é\n\"\\"], Enum.random(1..4))
        }

      11 ->
        %{"type" => Enum.take_random(~w(null boolean integer string), Enum.random(1..3))}

      12 ->
        %{"const" => Enum.random([0, "const", false, nil, [], %{}])}
    end
  end

  defp string do
    low = Enum.random(0..6)
    schema = %{"type" => "string"}
    schema = if Enum.random(1..2) == 1, do: Map.put(schema, "minLength", low), else: schema
    if Enum.random(1..2) == 1, do: Map.put(schema, "maxLength", low + Enum.random(0..20)), else: schema
  end

  defp bounded(schema, draw) do
    {low, high} = Enum.min_max([draw.(), draw.()])
    high = high + 2
    schema = if Enum.random(1..3) > 1, do: Map.put(schema, Enum.random(~w(minimum exclusiveMinimum)), low), else: schema
    if Enum.random(1..3) > 1, do: Map.put(schema, Enum.random(~w(maximum exclusiveMaximum)), high), else: schema
  end
end
