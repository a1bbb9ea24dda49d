defmodule Mlx.Tree.Paths do
  @moduledoc false
  # Containers and the paths of what is in them.

  alias Mlx.Tree.{Elements, Leaves}

  # A list is filled up to its last index, which may come from a file.
  @greatest_index 65_535

  @doc """
  The container with each leaf replaced by `fun.(path, [leaf | others])`, with what the other containers have at its
  path.
  """
  @spec map(term(), [term()], (String.t(), [term()] -> term()), Leaves.choice()) :: term()
  def map(container, others, fun, choice \\ nil), do: map(container, others, fun, choice, [])

  # `keys` lead to the container, the last one first.
  defp map(container, others, fun, choice, keys) do
    if Leaves.leaf?(container, choice),
      do: fun.(path(keys), [container | others]),
      else: Elements.with_pairs(container, map_elements(container, others, fun, choice, keys))
  end

  # What leads to no leaf is not looked for in the others.
  defp map_elements(container, others, fun, choice, keys) do
    for {key, element} <- Elements.pairs(container) do
      keys = [key | keys]

      if Leaves.in?(element, choice),
        do: {key, map(element, elements!(others, key, keys), fun, choice, keys)},
        else: {key, element}
    end
  end

  @doc """
  Two containers like this one: with the leaves for which `fun.(path, leaf)` is true, and with the others. `nil` stands
  where a leaf is missing.
  """
  @spec partition(term(), (String.t(), term() -> as_boolean(term())), Leaves.choice()) :: {term(), term()}
  def partition(container, fun, choice), do: partition(container, fun, choice, [])

  defp partition(container, fun, choice, keys) do
    cond do
      Leaves.leaf?(container, choice) ->
        if fun.(path(keys), container), do: {container, nil}, else: {nil, container}

      Leaves.in?(container, choice) ->
        parts =
          for {key, element} <- Elements.pairs(container), do: {key, partition(element, fun, choice, [key | keys])}

        {Elements.with_pairs(container, for({key, {chosen, _}} <- parts, do: {key, chosen})),
         Elements.with_pairs(container, for({key, {_, other}} <- parts, do: {key, other}))}

      true ->
        {container, container}
    end
  end

  defp elements!(others, key, keys) do
    for other <- others do
      case Elements.fetch(other, key) do
        {:ok, element} -> element
        :error -> raise ArgumentError, "Mlx.Tree: another container has nothing at #{inspect(path(keys))}"
      end
    end
  end

  @doc "The path of these keys, the last one first."
  @spec path([term()]) :: String.t()
  def path(keys), do: keys |> Enum.reverse() |> Enum.map_join(".", &text/1)

  defp text(key) when is_atom(key) or is_binary(key) or is_integer(key), do: to_string(key)

  defp text(key) do
    raise ArgumentError, "Mlx.Tree: expected keys that are atoms, strings or integers, got: #{inspect(key)}"
  end

  @doc "The leaves with their paths."
  @spec flatten(term(), Leaves.choice()) :: [{String.t(), term()}]
  def flatten(container, choice \\ nil), do: container |> flatten(choice, [], []) |> Enum.reverse()

  defp flatten(container, choice, keys, found) do
    if Leaves.leaf?(container, choice) do
      [{path(keys), container} | found]
    else
      container
      |> Elements.pairs()
      |> Enum.reduce(found, fn {key, element}, found -> flatten(element, choice, [key | keys], found) end)
    end
  end

  @doc "The container with the arrays of a map by their paths."
  @spec replace(term(), %{optional(String.t()) => term()}) :: term()
  def replace(container, arrays) do
    paths = for {path, _array} <- flatten(container), do: path

    case {paths -- Map.keys(arrays), Map.keys(arrays) -- paths} do
      {[], []} -> map(container, [], fn path, [_former] -> Map.fetch!(arrays, path) end)
      {[], unknown} -> raise ArgumentError, "Mlx.Tree.unflatten: the container has no arrays at #{inspect(unknown)}"
      {missing, _} -> raise ArgumentError, "Mlx.Tree.unflatten: there are no arrays for #{inspect(missing)}"
    end
  end

  @doc "The container of maps and lists whose elements have these paths."
  @spec unflatten([{String.t(), term()}]) :: term()
  def unflatten([{"", element}]), do: element

  def unflatten(elements) do
    children =
      elements
      |> Enum.map(&split/1)
      |> Enum.group_by(fn {key, _rest, _element} -> key end, fn {_key, rest, element} -> {rest, element} end)

    children = for {key, elements} <- children, do: {key, key |> child(elements) |> unflatten()}
    indexed = for {key, child} <- children, index = index(key), do: {index, child}
    if length(Enum.uniq_by(indexed, &elem(&1, 0))) == length(children), do: list(indexed), else: Map.new(children)
  end

  defp split({path, element}) when is_binary(path) do
    case String.split(path, ".", parts: 2) do
      [key, rest] -> {key, rest, element}
      [key] -> {key, "", element}
    end
  end

  defp child(_key, [one]), do: [one]

  defp child(key, elements) do
    if List.keymember?(elements, "", 0) do
      raise ArgumentError, "Mlx.Tree.unflatten: there is something else at #{inspect(key)}, or inside it"
    end

    elements
  end

  defp index(key) do
    case Integer.parse(key) do
      {index, ""} when index in 0..@greatest_index -> index
      _ -> nil
    end
  end

  defp list(indexed) do
    by_index = Map.new(indexed)
    last = by_index |> Map.keys() |> Enum.max(fn -> -1 end)
    for index <- 0..last//1, do: Map.get(by_index, index, %{})
  end
end
