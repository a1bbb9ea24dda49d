defmodule Mlx.Vectorization do
  @moduledoc false
  # Functions over slices of arrays.

  use Mlx.Topic

  alias Mlx.{Arity, Array, Native, Recording, Tree}

  @doc """
  A function that applies `fun` to slices of its arguments, all at once, and stacks the results.

  `fun` takes containers of arrays (see `Mlx.Tree`), which come without the mapped axis. While it runs its arrays have no
  values that could be read.

  Options:

    * `:in_axes` - the axis of each argument to map over, default 0. An integer holds for all arrays of all arguments;
      a list has an entry for each argument: an integer, `nil` for an argument that every call gets whole, or a container
      of these in the argument's form.
    * `:out_axes` - where the mapped axis goes in the results, default 0: an integer, or a container in the form of the
      result.

  Raises `ArgumentError` when the mapped axes do not have one size, and `Mlx.Error` for an operation that MLX cannot map.

      iex> dot = fn a, b -> Mlx.sum(Mlx.multiply(a, b)) end
      iex> a = Mlx.array([[1, 2], [3, 4], [5, 6]])
      iex> Mlx.vmap(dot).(a, a) |> Mlx.to_list()
      [5, 25, 61]
      iex> Mlx.vmap(dot, in_axes: [0, nil]).(a, Mlx.array([1, 10])) |> Mlx.to_list()
      [21, 43, 65]

  Python: `mlx.core.vmap`.
  """
  @spec vmap(function(), keyword()) :: function()
  def vmap(fun, options \\ []) when is_function(fun) do
    options = Keyword.validate!(options, in_axes: 0, out_axes: 0)
    arity = Arity.of(fun)
    Arity.function(arity, fn arguments -> map(fun, arguments, options[:in_axes], options[:out_axes]) end)
  end

  defp map(fun, arguments, in_axes, out_axes) do
    arrays = Tree.arrays(arguments)
    input_axes = Enum.zip_with(axes_of(in_axes, arguments, :in_axes), arrays, &axis!(&1, &2.shape, :in_axes))
    check_sizes!(arrays, input_axes)
    slices = Enum.zip_with(arrays, input_axes, &{without(&1.shape, &2), &1.type})
    recorded = Recording.without_values("Mlx.vmap", arguments, slices, &apply(fun, &1))
    results = Tree.arrays(recorded.result)

    output_axes =
      Enum.zip_with(axes_of(out_axes, recorded.result, :out_axes), results, fn axis, %Array{shape: shape} ->
        axis!(axis, Tuple.insert_at(shape, 0, 1), :out_axes)
      end)

    captured_axes = Enum.map(recorded.captured, fn _array -> -1 end)
    instruction = Native.program_vmap(recorded.program, input_axes ++ captured_axes, output_axes)
    Tree.with_arrays(recorded.result, Native.apply_instruction(instruction, arrays ++ recorded.captured))
  end

  defp check_sizes!(arrays, axes) do
    sizes = for {%Array{shape: shape}, axis} <- Enum.zip(arrays, axes), axis != -1, uniq: true, do: elem(shape, axis)

    case sizes do
      [_size] -> :ok
      [] -> raise ArgumentError, "Mlx.vmap: no argument has an axis to map over"
      sizes -> raise ArgumentError, "Mlx.vmap: the mapped axes have sizes #{Enum.join(sizes, " and ")}"
    end
  end

  # One axis for each array of the container.
  defp axes_of(axis, container, _option) when is_integer(axis) or is_nil(axis) do
    Enum.map(Tree.arrays(container), fn _array -> axis end)
  end

  defp axes_of(_axes, %Array{} = array, option) do
    raise ArgumentError,
          "Mlx.vmap: expected an axis in #{inspect(option)} for an array of shape #{inspect(array.shape)}"
  end

  defp axes_of(axes, container, option) do
    case pairs(axes, container) do
      {:ok, pairs} -> Enum.flat_map(pairs, fn {axis, element} -> axes_of(axis, element, option) end)
      :error -> raise ArgumentError, "Mlx.vmap: the form of #{inspect(option)} differs from that of the arrays"
    end
  end

  # The entries of two containers of one form, those of maps by their keys in order.
  defp pairs(%_{} = axes, container), do: axes |> Map.from_struct() |> pairs(container)
  defp pairs(axes, %_{} = container), do: pairs(axes, Map.from_struct(container))

  defp pairs(axes, container) when is_list(axes) and is_list(container) do
    if length(axes) == length(container), do: {:ok, Enum.zip(axes, container)}, else: :error
  end

  defp pairs(axes, container) when is_tuple(axes) and is_tuple(container) do
    pairs(Tuple.to_list(axes), Tuple.to_list(container))
  end

  defp pairs(axes, container) when is_map(axes) and is_map(container) do
    keys = container |> Map.keys() |> Enum.sort()
    if Enum.sort(Map.keys(axes)) == keys, do: {:ok, for(key <- keys, do: {axes[key], container[key]})}, else: :error
  end

  defp pairs(_axes, _container), do: :error

  defp axis!(nil, _shape, _option), do: -1

  defp axis!(axis, shape, _option) when is_integer(axis) and axis >= -tuple_size(shape) and axis < tuple_size(shape) do
    Integer.mod(axis, tuple_size(shape))
  end

  defp axis!(axis, shape, option) do
    raise ArgumentError,
          "Mlx.vmap: #{inspect(option)} has the axis #{inspect(axis)}, and an array has #{tuple_size(shape)} axes"
  end

  defp without(shape, -1), do: shape
  defp without(shape, axis), do: Tuple.delete_at(shape, axis)
end
