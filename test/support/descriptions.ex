defmodule Mlx.Descriptions do
  @moduledoc """
  All descriptions of operations (`Mlx.Description`), from the files of `test/descriptions`.
  """

  alias Mlx.Description
  alias Mlx.Differential.PlainCall

  @topics [
    Mlx.Descriptions.Elementwise,
    Mlx.Descriptions.Reductions,
    Mlx.Descriptions.Sorting,
    Mlx.Descriptions.Shapes,
    Mlx.Descriptions.Arranging,
    Mlx.Descriptions.Properties,
    Mlx.Descriptions.Creation,
    Mlx.Descriptions.Diagonals,
    Mlx.Descriptions.Products,
    Mlx.Descriptions.ProductsOfParts,
    Mlx.Descriptions.Convolutions,
    Mlx.Descriptions.Indexing,
    Mlx.Descriptions.Updates,
    Mlx.Descriptions.Quantization,
    Mlx.Descriptions.RandomNumbers,
    Mlx.Descriptions.LinearAlgebra,
    Mlx.Descriptions.FourierTransforms,
    Mlx.Descriptions.Fast
  ]

  @doc "One for each operation, and one more for each of its variants."
  @spec all() :: [%Description{}]
  def all, do: Enum.flat_map(@topics, & &1.operations())

  @doc "Those of which random calls are drawn, and their calls without options."
  @spec drawn() :: [%Description{}]
  def drawn do
    for %Description{not_drawn: nil} = operation <- all(), row <- [operation | without_options(operation)], do: row
  end

  defp without_options(%Description{without_options: nil}), do: []

  defp without_options(%Description{without_options: arguments} = operation) do
    draw = if is_atom(arguments), do: fn -> PlainCall.draw(arguments, python_name(operation)) end, else: arguments
    [%{operation | variant: "without options", draw: draw, ulps: 0, reason: nil, refusals: nil, share: 1}]
  end

  defp python_name(%Description{python: [%{names: [name | _]} | _]}), do: name

  @doc "The valid calls that descriptions have of a native function."
  @spec examples(atom()) :: [[Mlx.Argument.description()]]
  def examples(native), do: Map.get(of_native().examples, native, [])

  @doc "The kinds of a native function's arguments, where a description has them, or `nil`."
  @spec kinds(atom()) :: [atom()] | nil
  def kinds(native), do: of_native().kinds[native]

  @doc "The native functions of which descriptions have examples or kinds."
  @spec native_functions() :: [atom()]
  def native_functions, do: Enum.uniq(Map.keys(of_native().examples) ++ Map.keys(of_native().kinds))

  # Asked for at each of many thousand generated calls.
  defp of_native do
    case :persistent_term.get(__MODULE__, nil) do
      nil ->
        tables =
          for field <- [:examples, :kinds], into: %{}, do: {field, Map.new(Enum.flat_map(all(), &Map.get(&1, field)))}

        :persistent_term.put(__MODULE__, tables)
        tables

      tables ->
        tables
    end
  end

  @doc "Python's names in all descriptions, each with what it is in Elixir and a note."
  @spec python_names() :: [%{python: String.t(), elixir: [String.t()], note: String.t()}]
  def python_names do
    for operation <- all(), python <- operation.python, name <- python.names, uniq: true do
      %{python: "mlx.core." <> name, elixir: python.elixir || [function(operation)], note: python.note}
    end
  end

  # With the arity that it has without options.
  defp function(%Description{module: module, function: function}) do
    arity = Enum.min(for {^function, arity} <- module.module_info(:exports), do: arity)
    "#{inspect(module)}.#{function}/#{arity}"
  end

  @doc "Rows of `Mlx.Conformance.Signatures`."
  def signatures do
    for %{python: python} <- all(), names <- python, do: {names.names, names.parameters, names.adapter}
  end
end
