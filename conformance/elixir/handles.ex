defmodule Mlx.Conformance.Handles do
  @moduledoc """
  The objects that Python holds, by number.
  """

  @doc "Makes the table, which belongs to the calling process."
  def open do
    :ets.new(__MODULE__, [:named_table, :private])
    :ok
  end

  @doc "Keeps an object and returns its number."
  def keep(object) do
    id = System.unique_integer([:positive])
    :ets.insert(__MODULE__, {id, object})
    id
  end

  @doc "The object of a number."
  def fetch!(id), do: :ets.lookup_element(__MODULE__, id, 2)

  @doc "Drops objects. Python gives memory back at once, and tests measure it, so garbage is collected here too."
  def release([]), do: :ok

  def release(ids) do
    for id <- ids, do: :ets.delete(__MODULE__, id)
    :erlang.garbage_collect()
    # The scheduler destroys what a collection has found before it goes on with this process.
    :erlang.yield()
    :ok
  end
end
