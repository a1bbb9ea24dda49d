defmodule Mlx.Tree do
  @moduledoc """
  Containers of arrays: lists, keyword lists, tuples, maps and structs, at any depth.

  A model, its gradients and the state of an optimizer are such containers. These functions act on the arrays inside;
  whatever else is there, such as a number or a function, stays as it is.

  Arrays come in the order of the elements, those of maps and structs in the order of their keys. An array has a path, the
  keys and indices that lead to it with dots between them, as in Python:

      iex> model = %{layers: [%{weight: Mlx.ones({2}), rate: 0.1}], bias: Mlx.zeros({2})}
      iex> model |> Mlx.Tree.flatten() |> Enum.map(fn {path, _array} -> path end)
      ["bias", "layers.0.weight"]

  The option `:is_leaf` makes leaves of values that are no arrays. It is a function; it is asked about each value from the
  outside in, and a value for which it returns true is a leaf. Values inside of a leaf are not looked at.

  Python: `mlx.utils`.
  """

  use Mlx.Arguments.Mismatch

  alias Mlx.Array
  alias Mlx.Arguments.{ArgumentType, Arity, CalledFunction, Given}
  alias Mlx.Tree.{Leaves, Merge, Paths}

  @typedoc "An array, or a container of arrays."
  @type t :: term()

  @is_leaf "Options: `:is_leaf`, a function of a value that is no array. A value for which it returns true is a leaf, too."

  @doc """
  The arrays of a container.

      iex> Mlx.Tree.arrays(%{b: [Mlx.array(1), :other], a: {Mlx.array(2)}}) |> Enum.map(&Mlx.to_number/1)
      [2, 1]
  """
  @spec arrays(t()) :: [Array.t()]
  def arrays(container), do: collect(container, [])

  # From the last element to the first.
  defp collect(%Array{} = array, found), do: [array | found]
  defp collect([head | tail], found), do: collect(head, collect(tail, found))
  defp collect(map, found) when is_map(map), do: collect_values(keys(map), map, found)
  defp collect(tuple, found) when is_tuple(tuple), do: tuple |> Tuple.to_list() |> collect(found)
  defp collect(_other, found), do: found

  defp collect_values([key | keys], map, found) do
    %{^key => value} = map
    collect(value, collect_values(keys, map, found))
  end

  defp collect_values([], _map, found), do: found

  defp keys(map), do: :lists.sort(:maps.keys(map))

  @doc """
  The container with other arrays, given in the order of `arrays/1`.

      iex> container = {Mlx.array(1), %{rate: 0.1, weight: Mlx.array(2)}}
      iex> {a, %{rate: 0.1, weight: b}} = Mlx.Tree.with_arrays(container, [Mlx.array(10), Mlx.array(20)])
      iex> Enum.map([a, b], &Mlx.to_number/1)
      [10, 20]

  Raises `ArgumentError` when there are more or fewer of them.
  """
  @spec with_arrays(t(), [term()]) :: t()
  def with_arrays(container, arrays) when is_list(arrays) do
    case map_reduce(container, arrays, &next/2) do
      {filled, []} -> filled
      {_filled, _rest} -> raise ArgumentError, "Mlx.Tree.with_arrays: there are more arrays than the container holds"
    end
  end

  defp next(_former, [array | rest]), do: {array, rest}

  defp next(_former, _none),
    do: raise(ArgumentError, "Mlx.Tree.with_arrays: the container holds more arrays than given")

  @doc """
  The container with each array changed by a function.

      iex> Mlx.Tree.map(%{a: Mlx.array(1), b: [Mlx.array(2)]}, &Mlx.add(&1, 1)) |> Mlx.Tree.arrays() |> Enum.map(&Mlx.to_number/1)
      [2, 3]

  Python: `mlx.utils.tree_map`.
  """
  @spec map(t(), (Array.t() -> term())) :: t()
  def map(container, fun) when is_function(fun, 1) do
    {changed, nil} = map_reduce(container, nil, fn array, nil -> {fun.(array), nil} end)
    changed
  end

  @doc """
  As `map/2` with options, or with other containers: then the function also gets what these have at the path of each
  array.

  #{@is_leaf}

      iex> Mlx.Tree.map(%{sizes: {2, 3}, w: Mlx.array(1)}, &inspect/1, is_leaf: &is_tuple/1).sizes
      "{2, 3}"

  The others may have more elements, and containers where the first one has an array.

      iex> model = %{w: Mlx.array(1.0), rate: 0.1}
      iex> state = %{w: %{step: 3}, b: :unused}
      iex> %{w: {w, 3}, rate: 0.1} = Mlx.Tree.map(model, [state], fn w, %{step: step} -> {w, step} end)
      iex> Mlx.to_number(w)
      1.0

  Raises `ArgumentError` when one of them lacks an element that leads to an array of the first. Python:
  `mlx.utils.tree_map`.
  """
  @spec map(t(), (term() -> term()) | [t()], keyword() | (... -> term())) :: t()
  def map(container, fun, options) when is_function(fun, 1) and is_list(options), do: map(container, [], fun, options)
  def map(container, others, fun) when is_list(others), do: map(container, others, fun, [])

  @doc """
  As `map/3`, with other containers and options.

      iex> Mlx.Tree.map({1, Mlx.array(2)}, [{10, 20}], fn _leaf, other -> other + 1 end, is_leaf: &is_integer/1)
      {11, 21}

  Python: `mlx.utils.tree_map`.
  """
  @spec map(t(), [t()], (... -> term()), keyword()) :: t()
  def map(container, others, fun, options) when length(others) >= 0 do
    Arity.check!(fun, length(others) + 1, "Mlx.Tree.map")
    choice = Leaves.choice!(options, :map)
    named(:map, fn -> Paths.map(container, others, fn _path, leaves -> apply(fun, leaves) end, choice) end)
  end

  @doc """
  As `map/2`, for a function that gets the path of each array in front.

      iex> Mlx.Tree.map_with_path([Mlx.array(1), {Mlx.array(2)}], fn path, array -> {path, array.type} end)
      [{"0", :s32}, {{"1.0", :s32}}]

  Python: `mlx.utils.tree_map_with_path`.
  """
  @spec map_with_path(t(), (String.t(), Array.t() -> term())) :: t()
  def map_with_path(container, fun) when is_function(fun, 2) do
    named(:map_with_path, fn -> Paths.map(container, [], fn path, [array] -> fun.(path, array) end) end)
  end

  @doc """
  As `map/3`, for a function that gets the path of each leaf in front.

      iex> Mlx.Tree.map_with_path(%{a: Mlx.array(1)}, [%{a: 5}], fn path, _array, number -> {path, number} end)
      %{a: {"a", 5}}

  Python: `mlx.utils.tree_map_with_path`.
  """
  @spec map_with_path(t(), (String.t(), term() -> term()) | [t()], keyword() | (... -> term())) :: t()
  def map_with_path(container, fun, options) when is_function(fun, 2) and is_list(options) do
    map_with_path(container, [], fun, options)
  end

  def map_with_path(container, others, fun) when is_list(others) do
    map_with_path(container, others, fun, [])
  end

  @doc """
  As `map/4`, for a function that gets the path of each leaf in front.

      iex> Mlx.Tree.map_with_path([1, {2}], [[3, {4}]], fn path, a, b -> {path, a, b} end, is_leaf: &is_integer/1)
      [{"0", 1, 3}, {{"1.0", 2, 4}}]

  Python: `mlx.utils.tree_map_with_path`.
  """
  @spec map_with_path(t(), [t()], (... -> term()), keyword()) :: t()
  def map_with_path(container, others, fun, options) when length(others) >= 0 do
    Arity.check!(fun, length(others) + 2, "Mlx.Tree.map_with_path")
    choice = Leaves.choice!(options, :map_with_path)
    applied = fn path, leaves -> apply(fun, [path | leaves]) end
    named(:map_with_path, fn -> Paths.map(container, others, applied, choice) end)
  end

  # `Mlx.Tree.Paths` does not know for which function it finds that a container does not fit.
  defp named(function, fun), do: CalledFunction.name("Mlx.Tree.#{function}", ["Mlx.Tree"], fun)

  @doc """
  The container with each array changed by a function that also takes and returns an accumulator.

      iex> {[a, %{b: b}], 2} = Mlx.Tree.map_reduce([Mlx.array(5), %{b: Mlx.array(6)}], 0, &{Mlx.add(&1, &2), &2 + 1})
      iex> Enum.map([a, b], &Mlx.to_number/1)
      [5, 7]
  """
  @spec map_reduce(t(), accumulator, (Array.t(), accumulator -> {term(), accumulator})) :: {t(), accumulator}
        when accumulator: term()
  def map_reduce(container, accumulator, fun) when is_function(fun, 2), do: walk(container, accumulator, fun)

  defp walk(%Array{} = array, accumulator, fun), do: fun.(array, accumulator)

  defp walk([head | tail], accumulator, fun) do
    {head, accumulator} = walk(head, accumulator, fun)
    {tail, accumulator} = walk(tail, accumulator, fun)
    {[head | tail], accumulator}
  end

  defp walk(map, accumulator, fun) when is_map(map), do: walk_values(keys(map), map, accumulator, fun)

  defp walk(tuple, accumulator, fun) when is_tuple(tuple) do
    {elements, accumulator} = tuple |> Tuple.to_list() |> walk(accumulator, fun)
    {List.to_tuple(elements), accumulator}
  end

  defp walk(other, accumulator, _fun), do: {other, accumulator}

  defp walk_values([key | keys], map, accumulator, fun) do
    %{^key => value} = map
    {value, accumulator} = walk(value, accumulator, fun)
    walk_values(keys, %{map | key => value}, accumulator, fun)
  end

  defp walk_values([], map, accumulator, _fun), do: {map, accumulator}

  @doc """
  Combines the arrays one after another: `fun.(array, accumulator)`.

      iex> Mlx.Tree.reduce([Mlx.ones({2, 3}), %{a: Mlx.ones({4})}], 0, &(Mlx.size(&1) + &2))
      10

  #{@is_leaf}

      iex> Mlx.Tree.reduce([1, %{a: {2}}], 0, &+/2, is_leaf: &is_integer/1)
      3

  Python: `mlx.utils.tree_reduce`.
  """
  @spec reduce(t(), accumulator, (term(), accumulator -> accumulator), keyword()) :: accumulator
        when accumulator: term()
  def reduce(container, accumulator, fun, options \\ [])

  def reduce(container, accumulator, fun, options) when is_function(fun, 2) do
    container |> Leaves.all(Leaves.choice!(options, :reduce)) |> Enum.reduce(accumulator, fun)
  end

  @doc """
  Combines the arrays one after another, beginning with the first.

      iex> Mlx.Tree.reduce({Mlx.array(1), [Mlx.array(2)]}, &Mlx.add/2) |> Mlx.to_number()
      3

  Raises `ArgumentError` when there are none. Python: `mlx.utils.tree_reduce`.
  """
  @spec reduce(t(), (Array.t(), accumulator -> accumulator)) :: Array.t() | accumulator when accumulator: term()
  def reduce(container, fun) when is_function(fun, 2) do
    case arrays(container) do
      [first | rest] -> Enum.reduce(rest, first, fun)
      [] -> raise ArgumentError, "Mlx.Tree.reduce: the container holds no arrays"
    end
  end

  @doc """
  The first container with tuples in place of arrays: each array with what the others have at its path, as for `map/3`.

      iex> [%{a: {x, y}}, {nil}] = Mlx.Tree.zip([[%{a: Mlx.array(1)}, {nil}], [%{a: Mlx.array(2)}, {nil}]])
      iex> {Mlx.to_number(x), Mlx.to_number(y)}
      {1, 2}
  """
  @spec zip([t(), ...]) :: t()
  def zip([container | others]) when length(others) >= 0 do
    named(:zip, fn -> Paths.map(container, others, fn _path, arrays -> List.to_tuple(arrays) end) end)
  end

  @doc """
  The arrays of a container with their paths.

      iex> for {path, array} <- Mlx.Tree.flatten(%{b: [Mlx.array(1), Mlx.array(2)], a: [x: Mlx.array(3)]}) do
      ...>   {path, Mlx.to_number(array)}
      ...> end
      [{"a.x", 3}, {"b.0", 1}, {"b.1", 2}]

  #{@is_leaf}

      iex> Mlx.Tree.flatten(%{layers: [%{size: {2, 3}}]}, is_leaf: &is_tuple/1)
      [{"layers.0.size", {2, 3}}]

  Raises `ArgumentError` when a map has a key that is no atom, string or integer. Python: `mlx.utils.tree_flatten`.
  """
  @spec flatten(t(), keyword()) :: [{String.t(), term()}]
  def flatten(container, options \\ []) do
    choice = Leaves.choice!(options, :flatten)
    named(:flatten, fn -> Paths.flatten(container, choice) end)
  end

  @doc """
  The container with the arrays for which a function of their path and themselves is true, and `nil` in place of the
  others.

      iex> model = %{layers: [%{weight: Mlx.ones({2}), bias: Mlx.zeros({2})}], rate: 0.1}
      iex> %{layers: [%{bias: nil}], rate: 0.1} = only = Mlx.Tree.filter(model, fn path, _array -> path =~ "weight" end)
      iex> for {path, _array} <- Mlx.Tree.flatten(only), do: path
      ["layers.0.weight"]

  #{@is_leaf}

  Python: none in `mlx.utils`; `Module.filter_and_map` of `mlx.nn`.
  """
  @spec filter(t(), (String.t(), term() -> as_boolean(term())), keyword()) :: t()
  def filter(container, fun, options \\ [])

  def filter(container, fun, options) when is_function(fun, 2) do
    choice = Leaves.choice!(options, :filter)
    {chosen, _others} = named(:filter, fn -> Paths.partition(container, fun, choice) end)
    chosen
  end

  @doc """
  Two containers of the same form: one with the arrays for which a function of their path and themselves is true, the
  other with the rest. Where one container has an array, the other has `nil`. A value that is no array is in both.
  `merge/2` puts the two together again.

      iex> model = %{weight: Mlx.array(1.0), scales: Mlx.array(2.0), bits: 4}
      iex> {trained, kept} = Mlx.Tree.partition(model, fn path, _array -> path == "weight" end)
      iex> {trained.scales, kept.weight, trained.bits, kept.bits}
      {nil, nil, 4, 4}
      iex> Mlx.Tree.merge(trained, kept) == model
      true

  So a gradient is taken of some arrays of a model:

      iex> model = %{weight: Mlx.array(3.0), scale: Mlx.array(2.0)}
      iex> {trained, kept} = Mlx.Tree.partition(model, fn path, _array -> path == "weight" end)
      iex> loss = fn trained ->
      ...>   model = Mlx.Tree.merge(trained, kept)
      ...>   Mlx.multiply(model.scale, Mlx.square(model.weight))
      ...> end
      iex> %{weight: gradient, scale: nil} = Mlx.grad(loss).(trained)
      iex> Mlx.to_number(gradient)
      12.0

  #{@is_leaf}

  Python: none in `mlx.utils`; `freeze` and `unfreeze` of `mlx.nn` are for the same.
  """
  @spec partition(t(), (String.t(), term() -> as_boolean(term())), keyword()) :: {t(), t()}
  def partition(container, fun, options \\ [])

  def partition(container, fun, options) when is_function(fun, 2) do
    choice = Leaves.choice!(options, :partition)
    named(:partition, fn -> Paths.partition(container, fun, choice) end)
  end

  @doc """
  The container whose elements have these paths, a list of `{path, element}` or a map.

  Elements whose keys are numbers become a list, in which `%{}` stands for those that are missing; others become a map
  with strings as keys. Numbers above 65535 are keys of a map, too.

      iex> Mlx.Tree.unflatten([{"a.0.w", 1}, {"a.1.w", 2}, {"b", 3}])
      %{"a" => [%{"w" => 1}, %{"w" => 2}], "b" => 3}

  Raises `ArgumentError` when an element is inside another one, or a path is there twice. Python:
  `mlx.utils.tree_unflatten`.
  """
  @spec unflatten([{String.t(), term()}] | %{optional(String.t()) => term()}) :: term()
  def unflatten(elements), do: elements |> with_paths!() |> Paths.unflatten()

  @doc """
  The container with other arrays, given with their paths, as a list of `{path, array}` or a map.

      iex> model = %{layer: {Mlx.array(1), 0.1}}
      iex> %{layer: {weight, 0.1}} = Mlx.Tree.unflatten(%{"layer.0" => Mlx.array(7)}, model)
      iex> Mlx.to_number(weight)
      7

  Raises `ArgumentError` when the paths are not those of the container's arrays.
  """
  @spec unflatten([{String.t(), term()}] | %{optional(String.t()) => term()}, t()) :: t()
  def unflatten(arrays, container) do
    arrays = arrays |> with_paths!() |> Map.new()
    named(:unflatten, fn -> Paths.replace(container, arrays) end)
  end

  defp with_paths!(elements) do
    pairs = if is_map(elements) and not is_struct(elements), do: Map.to_list(elements), else: elements

    if not (ArgumentType.list?(pairs) and Enum.all?(pairs, &match?({path, _element} when is_binary(path), &1))) do
      raise ArgumentError,
            "Mlx.Tree.unflatten: expected a list of {path, element} or a map, with strings for paths, " <>
              "got: #{Given.text(elements)}"
    end

    pairs
  end

  @doc """
  The elements of two containers in one.

  Maps, structs and keyword lists are merged by their keys, lists and tuples by their indices, at any depth; `nil` and
  empty containers count as nothing. Where both have an element, `fun.(a, b)` decides, unless the two are the same and
  no arrays.

      iex> Mlx.Tree.merge(%{a: [1, nil], b: %{c: 2}}, %{a: [nil, 3], b: %{d: 4}})
      %{a: [1, 3], b: %{c: 2, d: 4}}
      iex> Mlx.Tree.merge(%{a: 1, b: 2}, %{a: 10}, fn _a, b -> b end)
      %{a: 10, b: 2}

  Raises `ArgumentError` when both have an element and there is no function, or when a struct gets keys that it does not
  have. Python: `mlx.utils.tree_merge`.
  """
  @spec merge(t(), t(), (term(), term() -> term()) | nil) :: t()
  def merge(a, b, fun \\ nil)

  def merge(a, b, fun) when is_nil(fun) or is_function(fun, 2) do
    named(:merge, fn -> Merge.merge(a, b, fun, []) end)
  end
end
