defmodule Mlx.LM.Grammar.Schema do
  @moduledoc false
  # The rules of a JSON Schema. Each schema that is reached is a rule of its own; the same schema is the same rule, which is
  # how a recursive one comes to an end.

  alias Mlx.LM.Grammar.{Expression, Formats, JSONGrammar, Numbers, Regex}
  alias Mlx.LM.Grammar.Schema.{Disjoint, Document, Keywords, Reader, Values}

  # The most schemas that are reached.
  @most 10_000

  @enforce_keys [:root]
  defstruct @enforce_keys ++ [names: %{}, trees: %{}]

  @doc "The trees of the rules of a schema, and the name of the first one. Throws `{:wrong, message}`."
  @spec rules(term(), :some | :none) :: {%{term() => Expression.t()}, term()}
  def rules(schema, whitespace) do
    root = Document.read(schema)
    {{:ref, first}, schemas} = rule(root, [], %__MODULE__{root: root})
    {Map.merge(JSONGrammar.trees(whitespace), schemas.trees), first}
  end

  # The rule of a schema.
  defp rule(schema, path, schemas), do: schema |> Reader.read(schemas.root, path) |> named(path, schemas)

  defp named(true, _path, schemas), do: {{:ref, :value}, schemas}
  defp named(false, _path, schemas), do: {Expression.never(), schemas} |> kept(false)

  defp named(keywords, path, schemas) do
    case schemas.names do
      %{^keywords => name} ->
        {{:ref, name}, schemas}

      names ->
        name = map_size(names)

        if name > @most,
          do: throw({:wrong, "the schema has more than #{@most} different parts, with those of its references"})

        schemas = %{schemas | names: Map.put(names, keywords, name)}
        keywords |> tree(path, schemas) |> kept(name)
    end
  end

  defp kept({tree, schemas}, name), do: {{:ref, name}, %{schemas | trees: Map.put(schemas.trees, name, tree)}}

  defp tree(%{"anyOf" => branches} = keywords, path, schemas) do
    {refs, schemas} =
      keywords |> Map.delete("anyOf") |> branches(branches, ["anyOf" | path], schemas) |> rules(path, schemas)

    {Expression.alt(refs), schemas}
  end

  defp tree(%{"oneOf" => branches} = keywords, path, schemas) do
    read = keywords |> Map.delete("oneOf") |> branches(branches, ["oneOf" | path], schemas)

    for {{one, _path}, index} <- Enum.with_index(read),
        {{other, _other}, next} <- Enum.with_index(read),
        next > index do
      if not Disjoint.disjoint?(one, other, schemas.root) do
        Keywords.refuse!(
          "oneOf",
          path,
          "the schemas #{index} and #{next} of it may have values in common; write \"anyOf\""
        )
      end
    end

    {refs, schemas} = rules(read, path, schemas)
    {Expression.alt(refs), schemas}
  end

  defp tree(%{"enum" => values} = keywords, path, schemas) do
    rest = Map.delete(keywords, "enum")
    fitting = Enum.filter(values, &Values.fits?(rest, &1, schemas.root, path))
    {Expression.alt(for value <- fitting, do: {:bytes, Document.encode(value)}), schemas}
  end

  defp tree(keywords, path, schemas) do
    {trees, schemas} = keywords |> Keywords.written() |> Enum.map_reduce(schemas, &typed(&1, keywords, path, &2))
    {Expression.alt(trees), schemas}
  end

  # What the keywords and each branch say together.
  defp branches(keywords, branches, path, schemas) do
    keywords = if keywords == %{}, do: true, else: keywords

    for {branch, index} <- Enum.with_index(branches) do
      branch_path = ["#{index}" | path]
      {Reader.join(keywords, Reader.read(branch, schemas.root, branch_path), path), branch_path}
    end
  end

  defp rules(read, _path, schemas),
    do: Enum.map_reduce(read, schemas, fn {keywords, path}, schemas -> named(keywords, path, schemas) end)

  # With more optional properties each is a rule: which of them may still come would be in all states of their names.
  @inlined 8

  defp typed("null", _keywords, _path, schemas), do: {{:bytes, "null"}, schemas}
  defp typed("boolean", _keywords, _path, schemas), do: {Expression.alt([{:bytes, "true"}, {:bytes, "false"}]), schemas}
  defp typed("string", keywords, path, schemas), do: {string(keywords, path), schemas}

  defp typed(type, keywords, path, schemas) when type in ["integer", "number"] do
    low =
      stricter(bound(keywords, "minimum", :at, path), bound(keywords, "exclusiveMinimum", :beyond, path), &Kernel.>/2)

    high =
      stricter(bound(keywords, "maximum", :at, path), bound(keywords, "exclusiveMaximum", :beyond, path), &Kernel.</2)

    case divisor(keywords["multipleOf"], path) do
      nil when type == "number" -> {Numbers.number(low, high), schemas}
      divisor -> {Numbers.integer(low, high, divisor || 1), schemas}
    end
  end

  defp typed("array", keywords, path, schemas) do
    first = Map.get(keywords, "prefixItems", [])
    {min, max} = {Map.get(keywords, "minItems", 0), Map.get(keywords, "maxItems", :infinity)}

    # Elements behind those that are named are any values only where they have to be.
    rest = Map.get(keywords, "items", if(first == [] or min > length(first), do: true, else: false))

    {nodes, schemas} =
      first
      |> Enum.with_index()
      |> Enum.map_reduce(schemas, fn {schema, index}, schemas ->
        rule(schema, ["#{index}", "prefixItems" | path], schemas)
      end)

    {node, schemas} = rule(rest, ["items" | path], schemas)
    check_count!(min, "minItems", path)
    if max != :infinity, do: check_count!(max, "maxItems", path)
    {elements(nodes, node, min, max), schemas}
  end

  defp typed("object", keywords, path, schemas) do
    {:object, properties} = Map.get(keywords, "properties", {:object, []})
    required = Map.get(keywords, "required", [])
    others = Map.get(keywords, "additionalProperties", properties == [])
    more = Map.get(keywords, "additionalProperties", true)
    optional = Enum.count(properties, fn {name, _schema} -> name not in required end)
    unnamed = for name <- required, not List.keymember?(properties, name, 0), do: {name, more}

    {members, schemas} =
      Enum.map_reduce(properties ++ unnamed, schemas, fn {name, schema}, schemas ->
        {node, schemas} = rule(schema, [name, "properties" | path], schemas)
        pair = JSONGrammar.pair({:bytes, JSON.encode!(name)}, node)

        {member, schemas} =
          if optional > @inlined, do: kept({pair, schemas}, {:pair, name, node}), else: {pair, schemas}

        {{member, name in required}, schemas}
      end)

    case others do
      false ->
        {JSONGrammar.object(members, nil), schemas}

      others ->
        {node, schemas} = rule(others, ["additionalProperties" | path], schemas)

        {JSONGrammar.object(members, JSONGrammar.pair(name(Enum.map(properties ++ unnamed, &elem(&1, 0))), node)),
         schemas}
    end
  end

  # A name that is none of these.
  defp name([]), do: {:ref, :string}

  defp name(names) do
    any = {:repeat, Expression.any(), 0, :infinity}
    JSONGrammar.string({:escaped, {:except, any, Expression.alt(for name <- names, do: {:bytes, name})}})
  end

  # As many states as there may be elements.
  @elements 2_000

  defp check_count!(count, name, path) do
    if count > @elements, do: Keywords.refuse!(name, path, "#{count} elements are more than #{@elements}")
  end

  # Without elements, or from the first one on.
  defp elements(nodes, node, min, max) do
    most = if max == :infinity, do: length(nodes), else: min(max, length(nodes))
    nodes = Enum.take(nodes, most)
    separated = fn node -> Expression.seq([JSONGrammar.separator(), node]) end

    rest = fn count, written ->
      low = max(min - count, 0)
      high = if max == :infinity, do: :infinity, else: max - count

      if high == :infinity or high >= low, do: {:repeat, written, low, high}, else: Expression.never()
    end

    behind =
      nodes
      |> Enum.with_index(1)
      |> Enum.drop(1)
      |> Enum.reverse()
      |> Enum.reduce(rest.(length(nodes), separated.(node)), fn {node, count}, behind ->
        tree = Expression.seq([separated.(node), behind])
        if count > min, do: Expression.optional(tree), else: tree
      end)

    filled =
      case {nodes, max} do
        {[first | _], _max} -> Expression.seq([first, behind])
        {[], 0} -> Expression.never()
        {[], :infinity} -> Expression.seq([node, {:repeat, separated.(node), max(min - 1, 0), :infinity}])
        {[], max} when max >= min -> Expression.seq([node, {:repeat, separated.(node), max(min - 1, 0), max - 1}])
        {[], _max} -> Expression.never()
      end

    some = JSONGrammar.array(filled)
    if min == 0, do: Expression.alt([JSONGrammar.array(Expression.empty()), some]), else: some
  end

  defp string(keywords, path) do
    {min, max} = {Map.get(keywords, "minLength", 0), Map.get(keywords, "maxLength", :infinity)}
    texts = for name <- ["format", "pattern"], text <- Map.get(keywords, name, []), do: text_tree(name, text)

    case texts do
      _texts when is_integer(max) and max < min ->
        Expression.never()

      [] when {min, max} == {0, :infinity} ->
        {:ref, :string}

      [] when max == 0 ->
        {:bytes, "\"\""}

      [] ->
        JSONGrammar.string({:count, JSONGrammar.character(), min, max})

      texts ->
        texts |> Enum.reduce(&{:both, &2, &1}) |> of_length(min, max, path) |> then(&JSONGrammar.string({:escaped, &1}))
    end
  end

  defp of_length(tree, 0, :infinity, _path), do: tree
  defp of_length(tree, min, max, _path), do: {:length, tree, min, max}

  @doc "The tree of the whole strings that a pattern or a format takes."
  @spec text_tree(String.t(), {String.t(), [String.t()]}) :: Expression.t()
  def text_tree("format", {format, path}) do
    Formats.tree(format) ||
      Keywords.refuse!("format", path, "#{inspect(format)} is none of #{Enum.join(Formats.names(), ", ")}")
  end

  def text_tree("pattern", {pattern, path}) do
    Regex.parse(pattern, :somewhere)
  catch
    {:wrong, problem} -> Keywords.refuse!("pattern", path, problem)
  end

  defp bound(keywords, name, kind, path) do
    case keywords do
      %{^name => number} ->
        decimal = Numbers.decimal(number) || Keywords.refuse!(name, path, "the number has too many digits")
        {kind, decimal, number}

      _none ->
        nil
    end
  end

  # Of two bounds the one that leaves out more.
  defp stricter(nil, nil, _beyond), do: nil
  defp stricter(nil, {kind, decimal, _number}, _beyond), do: {kind, decimal}
  defp stricter({kind, decimal, _number}, nil, _beyond), do: {kind, decimal}

  defp stricter({_at, decimal, number}, {_beyond, past, other}, beyond),
    do: if(beyond.(number, other), do: {:at, decimal}, else: {:beyond, past})

  defp divisor(nil, _path), do: nil
  defp divisor(number, path) when is_float(number) and trunc(number) == number, do: divisor(trunc(number), path)

  defp divisor(number, path) when is_float(number),
    do: Keywords.refuse!("multipleOf", path, "only multiples of integers are exact, and #{number} is none")

  defp divisor(number, path) do
    if number > Numbers.most_divisor(),
      do: Keywords.refuse!("multipleOf", path, "#{number} is more than #{Numbers.most_divisor()}"),
      else: number
  end
end
