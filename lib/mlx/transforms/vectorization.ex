defmodule Mlx.Transforms.Vectorization do
  @moduledoc false
  # Functions over slices of arrays.

  use Mlx.Ops.Topic, title: "Mapping over axes"

  import Mlx.NonFinite.Operations, only: [checked: 3]

  alias Mlx.{Arguments.Arity, Arguments.Options, Array, Native, Transforms.MappedAxes, Transforms.Recording, Tree}

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
    recorded = Recording.without_values("Mlx.vmap", arguments, slices, &apply(fun, &1))
    results = Tree.arrays(recorded.result)

    output_axes =
      Enum.zip_with(MappedAxes.flatten(out_axes, recorded.result, @out_axes), results, fn axis, %Array{shape: shape} ->
        MappedAxes.normalize(axis, Tuple.insert_at(shape, 0, 1), @out_axes)
      end)

    captured_axes = Enum.map(recorded.captured, fn _array -> -1 end)
    instruction = Native.program_vmap(recorded.program, input_axes ++ captured_axes, output_axes)
    Tree.with_arrays(recorded.result, Recording.run(instruction, arrays ++ recorded.captured))
  end

  defp check_sizes!(arrays, axes) do
    sizes = for {%Array{shape: shape}, axis} <- Enum.zip(arrays, axes), axis != -1, uniq: true, do: elem(shape, axis)

    case sizes do
      [_size] -> :ok
      [] -> raise ArgumentError, "Mlx.vmap: no argument has an axis to map over"
      sizes -> raise ArgumentError, "Mlx.vmap: the mapped axes have sizes #{Enum.join(sizes, " and ")}"
    end
  end
end
