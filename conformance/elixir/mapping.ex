defmodule Mlx.Conformance.Mapping do
  @moduledoc """
  The functions that stand for Python's, from `guides/from_python_to_elixir.tsv`.
  """

  @file_name Path.expand("../../guides/from_python_to_elixir.tsv", __DIR__)
  @external_resource @file_name

  @rows for line <- @file_name |> File.read!() |> String.split("\n", trim: true) |> tl(),
            do: line |> String.split("\t") |> Enum.take(2) |> List.to_tuple()

  @functions for {name, elixir} <- @rows,
                 [_, module, function] <- [Regex.run(~r/^([A-Z][\w.]*)\.([a-z]\w*[?!]?)\/\d+/, elixir)],
                 into: %{},
                 do: {name, {Module.concat([module]), String.to_atom(function)}}

  @atoms for {name, ":" <> atom} <- @rows, into: %{}, do: {name, String.to_atom(atom)}

  @doc "All names of Python in the table."
  def names, do: for({name, _} <- @rows, do: name)

  @doc "The function for a name, as `{module, name}`; nil where there is none."
  def function(name), do: Map.get(@functions, name)

  @doc "The atom for a name, as `:inexact`; nil where it stands for none."
  def atom(name), do: Map.get(@atoms, name)
end
