defmodule Mlx.Transforms.GraphDescription do
  @moduledoc false
  # What functions and arrays are computed by.

  use Mlx.Ops.Topic, title: "Looking at graphs"

  alias Mlx.{Array, Native, Tree}
  alias Mlx.Arguments.Options
  alias Mlx.Transforms.RecordedCall

  @doc """
  What MLX makes of a function: its inputs, outputs, constants and operations, as data.

  `fun`, `arguments` and `:shapeless` are those of `export_function/4`. Returns a map:

    * `:inputs`, `:outputs` - a name, a shape and a type each
    * `:keywords` - the names of the inputs that are given by keyword
    * `:constants` - arrays by name
    * `:operations` - in the order of computation, maps with MLX's `:name` of the operation, its `:inputs` and `:outputs`
      as above, and its other `:arguments`

  For example:

      iex> description = Mlx.describe_function(fn x -> Mlx.exp(Mlx.negate(x)) end, [Mlx.zeros({2})])
      iex> description.inputs
      [{"A", {2}, :f32}]
      iex> for operation <- description.operations, do: operation.name
      ["Negative", "Exp"]

  Python: `mlx.core.export_function` with a callback.
  """
  @spec describe_function(function(), [Array.t() | {atom(), Array.t()}], keyword()) :: %{
          inputs: [{name :: String.t(), shape :: tuple(), Mlx.Type.t()}],
          outputs: [{name :: String.t(), shape :: tuple(), Mlx.Type.t()}],
          keywords: %{atom() => String.t()},
          constants: %{String.t() => Array.t()},
          operations: [map()]
        }
  def describe_function(fun, arguments, options \\ []) do
    [shapeless] = Options.without_stream(options, :describe_function, shapeless: false)
    call = RecordedCall.record("Mlx.describe_function", fun, arguments)
    [inputs, keywords, outputs, constants, operations] = Native.describe_function(call, shapeless)

    %{
      inputs: nodes(inputs),
      outputs: nodes(outputs),
      keywords: Map.new(keywords, fn [keyword, name] -> {String.to_existing_atom(keyword), name} end),
      constants: Map.new(constants, fn [name, array] -> {name, array} end),
      operations:
        for [name, inputs, outputs, arguments] <- operations do
          %{name: name, inputs: nodes(inputs), outputs: nodes(outputs), arguments: arguments}
        end
    }
  end

  defp nodes(descriptions), do: for([name, shape, type] <- descriptions, do: {name, List.to_tuple(shape), type})

  @doc """
  The graph that the arrays of a container are still to be computed by, as text in the DOT language of Graphviz.

  Options:

    * `:names` - a keyword list of arrays, which get these names in the graph; others are called A, B and so on.

  For example, and for `dot -Tsvg`:

      iex> x = Mlx.array(2.0)
      iex> Mlx.export_to_dot(Mlx.exp(x), names: [x: x]) =~ "Exp"
      true

  Python: `mlx.core.export_to_dot`.
  """
  @spec export_to_dot(term(), keyword()) :: String.t()
  def export_to_dot(container, options \\ []) do
    [named] = Options.without_stream(options, :export_to_dot, names: [])
    unnamed = Tree.arrays(container)
    names = Enum.map(unnamed, fn _array -> "" end) ++ Enum.map(Keyword.keys(named), &quoted/1)
    Native.export_to_dot(unnamed ++ Keyword.values(named), names)
  end

  # MLX writes names between quotes as they are.
  defp quoted(name), do: name |> Atom.to_string() |> String.replace(["\\", "\""], &("\\" <> &1))
end
