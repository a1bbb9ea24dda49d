defmodule Mlx.LM.Grammar.Cache do
  @moduledoc false
  # What is computed once for all processes: vocabularies, and masks of places in grammars.
  #
  # It has two tables. New values go into the first one; when that has taken so many bytes, the second one is emptied and they
  # change places. What is read from the second one is moved to the first. So a value stays as long as it is used.

  use GenServer

  @most 256 * 1024 * 1024

  @name __MODULE__

  @doc false
  def start_link(_options), do: GenServer.start_link(__MODULE__, nil, name: @name)

  @doc "The value of a key, which is computed where it is not there. `size` gives the bytes that a value takes."
  @spec fetch(term(), (term() -> non_neg_integer()), (-> term())) :: term()
  def fetch(key, size, compute) do
    case :persistent_term.get(@name, nil) do
      nil -> compute.()
      tables -> fetch(tables, key, size, compute)
    end
  end

  defp fetch({one, two, counters}, key, size, compute) do
    {young, old} = if :atomics.get(counters, 1) == 0, do: {one, two}, else: {two, one}

    case {find(young, key), fn -> find(old, key) end} do
      {{:ok, value}, _old} ->
        value

      {:error, old} ->
        value = with :error <- old.(), do: {:ok, compute.()}
        {:ok, value} = value
        put(young, key, value, size.(value) + 200, counters)
        value
    end
  end

  # A table is gone while its owner starts anew.
  defp find(table, key) do
    case :ets.lookup(table, key) do
      [{_key, value}] -> {:ok, value}
      [] -> :error
    end
  rescue
    ArgumentError -> :error
  end

  defp put(table, key, value, bytes, counters) do
    if :ets.insert_new(table, {key, value}) and :atomics.add_get(counters, 2, bytes) > @most,
      do: GenServer.cast(@name, :turn)

    :ok
  rescue
    ArgumentError -> :ok
  end

  @impl true
  def init(nil) do
    [one, two] = for _table <- 1..2, do: :ets.new(@name, [:set, :public, read_concurrency: true])
    tables = {one, two, :atomics.new(2, signed: true)}
    :persistent_term.put(@name, tables)
    {:ok, tables}
  end

  @impl true
  def handle_cast(:turn, {one, two, counters} = tables) do
    if :atomics.get(counters, 2) > @most do
      old = :atomics.get(counters, 1)
      :ets.delete_all_objects(if old == 0, do: two, else: one)
      :atomics.put(counters, 2, 0)
      :atomics.put(counters, 1, 1 - old)
    end

    {:noreply, tables}
  end
end
