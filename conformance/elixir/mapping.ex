defmodule Mlx.Conformance.Mapping do
  @moduledoc """
  The functions that stand for Python's, from `Mlx.PythonNames`.
  """

  @key __MODULE__

  @doc "All names of Python in the table."
  def names, do: Map.keys(table())

  @doc "The function for a name, as `{module, name}`; nil where there is none."
  def function(name) do
    case table() do
      %{^name => {_module, _function} = function} -> function
      _table -> nil
    end
  end

  @doc "The atom for a name, as `:inexact`; nil where it stands for none."
  def atom(name) do
    case table() do
      %{^name => atom} when is_atom(atom) -> atom
      _table -> nil
    end
  end

  defp table do
    case :persistent_term.get(@key, nil) do
      nil ->
        :persistent_term.put(@key, Map.new(Mlx.PythonNames.rows(), &{&1.python, counterpart(&1.elixir)}))
        table()

      table ->
        table
    end
  end

  defp counterpart([":" <> atom | _]), do: String.to_atom(atom)

  defp counterpart([name | _]) do
    case Regex.run(~r/^([A-Z][\w.]*)\.([a-z]\w*[?!]?)\/\d+/, name) do
      [_, module, function] -> {Module.concat([module]), String.to_atom(function)}
      nil -> nil
    end
  end

  defp counterpart([]), do: nil
end
