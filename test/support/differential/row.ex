defmodule Mlx.Differential.Row do
  @moduledoc """
  A row of the table of operations: a public function, and how calls of it are drawn.

  `draw` gives the arguments for Elixir and the same call in Python. `ulps` is how far floating-point results may be
  apart; every other than 0 needs a `reason`. `refusals` says why Python raises for some calls that are right, which are
  then not compared. `share` says how many cases there are for one of another row.
  """

  @enforce_keys [:module, :function, :draw]
  defstruct [:module, :function, :draw, :variant, :reason, :refusals, ulps: 0, share: 1]

  @doc "A row for a function of `Mlx`, or of `module: Mlx.Linalg`, for example."
  def new(function, options \\ [], draw) do
    struct!(%__MODULE__{module: Mlx, function: function, draw: draw}, options)
  end

  @doc "The name of a row."
  def label(row), do: String.trim("#{inspect(row.module)}.#{row.function} #{row.variant}")
end
