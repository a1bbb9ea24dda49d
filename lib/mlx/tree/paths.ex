defmodule Mlx.Tree.Paths do
  @moduledoc false
  # Containers and the paths of what is in them.

  alias Mlx.{Array, Tree.Elements}

  # A list is filled up to its last index, which may come from a file.
  @greatest_index 65_535

  @doc """
  The container with each array replaced by `fun.(path, [array | others])`, with what the other containers have at its
  path.
  """
  @spec map(term(), [term()], (String.t(), [term()] -> term())) :: term()
  def map(container, others, fun), do: map(container, others, fun, [])

  # `keys` lead to the container, the last one first.
  defp map(%Array{} = array, others, fun, keys), do: fun.(path(keys), [array | others])

  defp map(container, others, fun, keys) do
    pairs =
      for {key, element} <- Elements.pairs(container) do
        keys = [key | keys]
        {key, if(holds_arrays?(element), do: map(element, elements!(others, key, keys), fun, keys), else: element)}
      end

    Elements.with_pairs(container, pairs)
  end

  # What leads to no array is not looked for in the others.
  defp holds_arrays?(%Array{}), do: true
  defp holds_arrays?(element), do: Mlx.Tree.arrays(element) != []

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

  @doc "The arrays with their paths."
  @spec flatten(term()) :: [{String.t(), Array.t()}]
  def flatten(container), do: container |> flatten([], []) |> Enum.reverse()

  defp flatten(%Array{} = array, keys, found), do: [{path(keys), array} | found]

  defp flatten(container, keys, found) do
    Enum.reduce(Elements.pairs(container), found, fn {key, element}, found -> flatten(element, [key | keys], found) end)
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
