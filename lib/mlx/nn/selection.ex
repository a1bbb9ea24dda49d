defmodule Mlx.NN.Selection do
  @moduledoc false
  # Which arrays of a model are trained: all but those that were chosen not to be, those that their layers keep, and those
  # of a type that has no derivatives.

  alias Mlx.{Array, Tree, Type}
  alias Mlx.Arguments.Given
  alias Mlx.NN.Layers

  @typedoc "See `t:Mlx.NN.selection/0`."
  @type t :: String.t() | Regex.t() | module() | (String.t(), Array.t() -> as_boolean(term())) | [t()]

  @doc "The model in two parts, the arrays that are trained and the others. `function` is the name in errors."
  @spec partition(Tree.t(), t(), String.t()) :: {Tree.t(), Tree.t()}
  def partition(model, selection, function) do
    frozen? = chosen(model, selection, function)
    kept? = kept(model)
    Tree.partition(model, fn path, array -> not (kept?.(path, array) or frozen?.(path, array)) end)
  end

  @doc "The parts after those of the selection that can be trained have gone over from the second to the first."
  @spec release({Tree.t(), Tree.t()}, t(), String.t()) :: {Tree.t(), Tree.t()}
  def release({trained, frozen}, selection, function) do
    chosen? = chosen(Tree.merge(trained, frozen), selection, function)
    kept? = kept(frozen)
    {released, frozen} = Tree.partition(frozen, fn path, array -> chosen?.(path, array) and not kept?.(path, array) end)
    {Tree.merge(trained, released), frozen}
  end

  # Whether an array is never trained.
  defp kept(model) do
    paths =
      for {path, layer} <- Layers.all(model), field <- Layers.kept(layer), into: MapSet.new(), do: join(path, field)

    fn path, %Array{type: type} -> not Type.fractional?(type) or below?(path, paths) end
  end

  defp join("", field), do: "#{field}"
  defp join(path, field), do: "#{path}.#{field}"

  defp chosen(model, selection, function) do
    chosen = for one <- listed(selection), do: one(one, model, function)
    fn path, array -> Enum.any?(chosen, & &1.(path, array)) end
  end

  # What is no list is told of where it is looked at.
  defp listed([]), do: []
  defp listed([head | tail]), do: listed(head) ++ listed(tail)
  defp listed(other), do: [other]

  defp one(fun, _model, _function) when is_function(fun, 2), do: fun
  defp one(%Regex{} = pattern, _model, _function), do: fn path, _array -> path =~ pattern end

  defp one(path, model, function) when is_binary(path) do
    paths = MapSet.new([path])
    chosen? = fn path, _array -> below?(path, paths) end

    if not Enum.any?(Tree.flatten(model), fn {path, array} -> chosen?.(path, array) end) do
      raise ArgumentError, "#{function}: the model has no arrays at #{inspect(path)}"
    end

    chosen?
  end

  defp one(module, model, function) when is_atom(module) and module not in [nil, true, false] do
    case for {path, layer} <- Layers.all(model), is_struct(layer, module), into: MapSet.new(), do: path do
      paths when paths == %MapSet{} -> raise ArgumentError, "#{function}: the model has no layer #{inspect(module)}"
      paths -> fn path, _array -> below?(path, paths) end
    end
  end

  defp one(other, _model, function) do
    raise ArgumentError,
          "#{function}: expected a path, a regular expression, the module of a layer, a function of a path and an array, " <>
            "or a list of these, got: #{Given.text(other)}"
  end

  # Whether the path, or one that leads to it, is one of the paths. All paths are below that of the model itself.
  defp below?(path, paths) do
    cond do
      MapSet.size(paths) == 0 -> false
      MapSet.member?(paths, "") -> true
      true -> leads?("", String.split(path, "."), paths)
    end
  end

  defp leads?(_path, [], _paths), do: false

  defp leads?(path, [key | keys], paths) do
    path = join(path, key)
    MapSet.member?(paths, path) or leads?(path, keys, paths)
  end
end
