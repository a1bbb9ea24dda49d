defmodule Mlx.Training.Passes do
  @moduledoc false
  # Batches, as a user gives them: an Enumerable of which each epoch makes a pass, or a function of the epoch.

  alias Mlx.Arguments.ArgumentType

  @type t :: Enumerable.t() | (pos_integer() -> Enumerable.t())

  @doc "Whether a term gives batches."
  @spec valid?(term()) :: boolean()
  def valid?(list) when is_list(list), do: ArgumentType.list?(list)
  def valid?(fun) when is_function(fun), do: is_function(fun, 1) or is_function(fun, 2)
  def valid?(other), do: Enumerable.impl_for(other) != nil

  @doc "The batches of an epoch, which is counted from 1."
  @spec of(t(), pos_integer()) :: Enumerable.t()
  def of(passes, epoch) when is_function(passes, 1), do: passes.(epoch)
  # Streams are functions of two arguments.
  def of(passes, _epoch), do: passes
end
