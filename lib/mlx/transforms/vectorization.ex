defmodule Mlx.Transforms.Vectorization do
  @moduledoc false
  # Functions over slices of arrays.

  use Mlx.Ops.Topic, title: "Mapping over axes"

  import Mlx.NonFinite.Operations, only: [checked: 3]

  alias Mlx.{Array, Native, Tree, Type}
  alias Mlx.Arguments.{Arity, Options}
  alias Mlx.Transforms.{MappedAxes, Recording, Replacement}

  @in_axes "Mlx.vmap: :in_axes"
  @out_axes "Mlx.vmap: :out_axes"

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

  A few operations run once for each slice, as MLX cannot map them: `Mlx.Linalg.solve/3`, products of selected matrices
  and of quantized ones, and those by an index that differs from slice to slice.

  Raises `ArgumentError` when the mapped axes do not have one size, and `Mlx.Error` for an operation that cannot be
  mapped, such as a kernel of `Mlx.Unsafe`; `custom_function/2` gives it a rule.

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
    [in_axes, out_axes] = Options.without_stream(options, :vmap, in_axes: 0, out_axes: 0)

    Arity.function(Arity.of(fun), fn arguments ->
      checked("Mlx.vmap", [fun | arguments], do: map(fun, arguments, in_axes, out_axes))
    end)
  end

  defp map(fun, arguments, in_axes, out_axes) do
    arrays = Tree.arrays(arguments)

    input_axes =
      Enum.zip_with(
        MappedAxes.flatten(in_axes, arguments, @in_axes),
        arrays,
        &MappedAxes.normalize(&1, &2.shape, @in_axes)
      )

    check_sizes!(arrays, input_axes)
    slices = Enum.zip_with(arrays, input_axes, &{MappedAxes.without(&1.shape, &2), &1.type})
    recorded = Recording.without_values("Mlx.vmap", arguments, slices, Replacement.carried(fun))
    {result, carried} = recorded.result

    output_axes =
      Enum.zip_with(MappedAxes.flatten(out_axes, result, @out_axes), Tree.arrays(result), fn axis, array ->
        MappedAxes.normalize(axis, Tuple.insert_at(array.shape, 0, 1), @out_axes)
      end)

    replaced_axes = Enum.map(carried, fn {place, _new} -> mapped_axis(place, input_axes) end)
    captured_axes = Enum.map(recorded.captured, fn _array -> -1 end)

    instruction =
      Native.program_vmap(
        recorded.program,
        input_axes ++ captured_axes,
        output_axes ++ Enum.map(replaced_axes, &max(&1, 0))
      )

    {result, carried} = Tree.with_arrays(recorded.result, Recording.run(instruction, arrays ++ recorded.captured))
    Replacement.received({result, Enum.zip_with(carried, replaced_axes, &of_all_slices/2)}, arguments)
  end

  # The axis of the array that a new one stands for; -1 where the slices share the array.
  defp mapped_axis(place, input_axes), do: if(is_integer(place), do: Enum.at(input_axes, place), else: -1)

  # Of an array that all slices share there can only be one afterwards, too: their mean, and of integers the first.
  defp of_all_slices({place, new}, -1) do
    {place, if(Type.fractional?(new.type), do: Mlx.mean(new, axes: [0]), else: Mlx.at(new, 0))}
  end

  defp of_all_slices(mapped, _axis), do: mapped

  defp check_sizes!(arrays, axes) do
    sizes = for {%Array{shape: shape}, axis} <- Enum.zip(arrays, axes), axis != -1, uniq: true, do: elem(shape, axis)

    case sizes do
      [_size] -> :ok
      [] -> raise ArgumentError, "Mlx.vmap: no argument has an axis to map over"
      sizes -> raise ArgumentError, "Mlx.vmap: the mapped axes have sizes #{Enum.join(sizes, " and ")}"
    end
  end
end
