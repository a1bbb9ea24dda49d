defmodule Mlx.PythonNames do
  @moduledoc """
  What the public names of Python's `mlx.core`, `mlx.nn`, `mlx.optimizers` and `mlx.utils` are in Elixir: those of
  operations from their descriptions (`Mlx.Descriptions`), all others from `guides/from_python_to_elixir.tsv`.

  A row of the file has three columns, with a tab between them: the Python name, what it is in Elixir, and a note. In
  Elixir it is `-`, with the reason in the note, or a list of functions (`Mlx.add/2`, with the arity that they have
  without options), modules and atoms.
  """

  @file_name Path.expand("../../guides/from_python_to_elixir.tsv", __DIR__)
  @external_resource @file_name

  @others for line <- @file_name |> File.read!() |> String.split("\n", trim: true) |> tl(),
              [python, elixir, note] = String.split(line, "\t"),
              do: %{python: python, elixir: if(elixir == "-", do: [], else: String.split(elixir, ", ")), note: note}

  @type row :: %{python: String.t(), elixir: [String.t()], note: String.t()}

  @doc "The rows. Where there is nothing in Elixir the list is empty."
  @spec rows() :: [row()]
  def rows, do: Mlx.Descriptions.python_names() ++ @others
end
