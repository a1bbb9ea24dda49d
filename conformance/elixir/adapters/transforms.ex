defmodule Mlx.Conformance.Transforms do
  @moduledoc """
  Adapters for transforms of functions.

  A function, of Python or the result of a transform, takes the list of its positional arguments and the map of its keyword
  arguments. `Mlx` transforms functions of a fixed number of arguments: each positional argument is one.
  """

  import Mlx.Conformance.PythonError, only: [value_error!: 1]

  alias Mlx.{Array, Tree}
  alias Mlx.Arguments.Arity

  @doc "Calls a function that Elixir returned."
  def apply_function(_call, %{function: function, arguments: arguments, keywords: keywords}, _options) do
    function.(container(arguments), container(keywords))
  end

  @doc "`grad(fun, argnums, argnames)`."
  def grad(call, bound, _options) do
    differentiated(call, bound, &scalar!/1, fn gradients, as_python -> as_python.(gradients) end)
  end

  @doc "`value_and_grad(fun, argnums, argnames)`."
  def value_and_grad(call, bound, _options) do
    differentiated(call, bound, &scalar_first!/1, fn {value, gradients}, as_python -> {value, as_python.(gradients)} end)
  end

  defp differentiated(call, %{fun: fun, argnums: numbers, argnames: names}, check, result) do
    names = List.wrap(names)
    numbers = Enum.sort(if numbers == nil and names == [], do: [0], else: List.wrap(numbers))
    # Only a call tells how many arguments there are; these numbers are wrong for any.
    if names == [], do: transform(call, fn _arguments -> nil end, Enum.max([0 | numbers]) + 1, argnums: numbers)

    fn arguments, keywords ->
      {named, others} = Map.split(keywords, names)
      if map_size(named) < length(names), do: value_error!("the keyword arguments #{inspect(names)} are not all given")
      # The keyword arguments to differentiate are one more argument, a map.
      maps = if names == [], do: [], else: [named]
      count = length(arguments)
      numbers_of_all = numbers ++ Enum.map(maps, fn _map -> count end)
      for {argument, number} <- Enum.with_index(arguments ++ maps), number in numbers_of_all, do: only_arrays!(argument)

      checked = fn values ->
        {arguments, maps} = Enum.split(values, count)
        value = fun.(arguments, Enum.reduce(maps, others, &Map.merge(&2, &1)))
        check.(value)
        value
      end

      transform(call, checked, count + length(maps), argnums: numbers_of_all)
      |> apply(arguments ++ maps)
      |> result.(&gradients(Tuple.to_list(&1), length(numbers)))
    end
  end

  # Python has a single gradient without a tuple around it, and those of keyword arguments beside the others.
  defp gradients(gradients, count) do
    {positional, by_name} = Enum.split(gradients, count)

    positional =
      case positional do
        [] -> nil
        [gradient] -> gradient
        gradients -> List.to_tuple(gradients)
      end

    if by_name == [], do: positional, else: {positional, hd(by_name)}
  end

  defp scalar!(%Array{}), do: :ok
  defp scalar!(value), do: value_error!("expected a function that returns a scalar, got: #{inspect(value)}")

  defp scalar_first!(%Array{}), do: :ok
  defp scalar_first!(value) when is_tuple(value) and is_struct(elem(value, 0), Array), do: :ok
  defp scalar_first!(value), do: value_error!("expected a function that returns a scalar first, got: #{inspect(value)}")

  defp only_arrays!(%Array{}), do: :ok
  defp only_arrays!(list) when is_list(list), do: Enum.each(list, &only_arrays!/1)
  defp only_arrays!({:instance, _class, elements}), do: only_arrays!(elements)
  defp only_arrays!(tuple) when is_tuple(tuple), do: tuple |> Tuple.to_list() |> only_arrays!()
  defp only_arrays!(map) when is_map(map), do: map |> Map.values() |> only_arrays!()
  defp only_arrays!(value), do: value_error!("expected nothing but arrays, got: #{inspect(value)}")

  @doc "`vjp(fun, primals, cotangents)`, where the function returns an array or several: in Python these are lists."
  def vjp(call, %{fun: fun, primals: primals, cotangents: cotangents}, _options) do
    call.([with_list(fun, length(primals)), primals, cotangents], [])
  end

  @doc "`jvp(fun, primals, tangents)`, with lists as in `vjp`."
  def jvp(call, %{fun: fun, primals: primals, tangents: tangents}, _options) do
    call.([with_list(fun, length(primals)), primals, tangents], [])
  end

  defp with_list(fun, count) do
    Arity.function(count, fn arguments ->
      case fun.(arguments, %{}) do
        %Array{} = array -> [array]
        tuple when is_tuple(tuple) -> Tuple.to_list(tuple)
        list -> list
      end
    end)
  end

  @doc "`vmap(fun, in_axes, out_axes)`."
  def vmap(call, %{fun: fun, in_axes: in_axes, out_axes: out_axes}, _options) do
    fn arguments, _keywords ->
      only_arrays!(arguments)
      axes = [in_axes: in_axes |> container() |> axes(arguments), out_axes: axes_of_one(container(out_axes))]
      call |> transform(&fun.(&1, %{}), length(arguments), axes) |> apply(arguments)
    end
  end

  # The axes of a single argument stand for themselves.
  defp axes(axis, _arguments) when is_integer(axis), do: axis
  defp axes(axes, [%Array{}]), do: [axes_of_one(axes)]
  defp axes(axes, [_container]), do: [axes]
  defp axes(nil, arguments), do: Enum.map(arguments, fn _argument -> nil end)
  defp axes(axes, _arguments) when is_tuple(axes), do: axes |> Tuple.to_list() |> Enum.map(&axes_of_one/1)
  defp axes(axes, _arguments), do: axes

  defp axes_of_one({axis}), do: axis
  defp axes_of_one(axes), do: axes

  @doc """
  `custom_function(f)` with its transforms. Python gives them the arguments, or the single one, and the keyword arguments
  to `vjp` only.
  """
  def custom_function(call, %{f: fun}, transforms) do
    call.([fun, for({name, transform} <- transforms, do: {name, custom(name, transform)})], [])
  end

  defp custom(:vjp, vjp) do
    fn [arguments, keywords] = primals, cotangents, outputs ->
      result = vjp.([own(arguments), cotangents, outputs], keywords)
      Tree.with_arrays(primals, Tree.arrays(result))
    end
  end

  defp custom(:jvp, jvp), do: fn primals, tangents -> jvp.(positional!(primals, tangents), %{}) end

  defp custom(:vmap, vmap) do
    fn primals, axes ->
      case vmap.(positional!(primals, axes), %{}) do
        {result, axes} -> {result, axes}
        other -> value_error!("expected a result and its axes, got: #{inspect(other)}")
      end
    end
  end

  defp positional!([arguments, keywords], [others, _]) do
    if keywords != %{}, do: value_error!("keyword arguments can be given to functions with a vjp only")
    [own(arguments), own(others)]
  end

  # A single argument stands for itself.
  defp own([argument]), do: argument
  defp own(arguments), do: List.to_tuple(arguments)

  defp transform(call, fun, arity, options), do: call.([Arity.function(arity, fun)], options)

  @doc "A value of Python with tuples of Elixir."
  def container({:tuple, elements}), do: elements |> Enum.map(&container/1) |> List.to_tuple()
  def container(list) when is_list(list), do: Enum.map(list, &container/1)
  def container(map) when is_map(map) and not is_struct(map), do: Map.new(map, fn {k, v} -> {k, container(v)} end)

  def container({:instance, class, elements}), do: {:instance, class, Enum.map(elements, &container/1)}

  def container({:opaque, type}) do
    value_error!("an object of the type #{type} cannot be an argument of a transformed function")
  end

  def container(value), do: value
end
