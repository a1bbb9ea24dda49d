defmodule Mlx.Training.Processes do
  @moduledoc false
  # What the processes of a group that train together exchange, besides gradients. Without a group, nil, nothing is.

  alias Mlx.{Array, Distributed, Random, Tree}
  alias Mlx.Arguments.CalledFunction
  alias Mlx.Distributed.Group
  alias Mlx.Training.Batches

  @type group :: Group.t() | nil

  @doc """
  Calls `fun` in the first process. Returns the result, which is nil in the others, and the term that `shared` makes of
  it, which all of them get. What is raised there is raised in all.
  """
  @spec in_first(group(), (-> result), (result -> term)) :: {result | nil, term} when result: var, term: var
  def in_first(nil, fun, shared) do
    result = fun.()
    {result, shared.(result)}
  end

  def in_first(group, fun, shared) do
    {outcome, result} = if group.rank == 0, do: attempt(fun, shared), else: {nil, nil}

    case exchange_term(outcome, group) do
      {:ok, term} -> {result, term}
      {:error, error} -> raise error
    end
  end

  defp attempt(fun, shared) do
    result = fun.()
    {{:ok, shared.(result)}, result}
  rescue
    error -> {{:error, error}, nil}
  end

  # The size comes first, so that all know how many bytes come after it.
  defp exchange_term(term, group) do
    bytes = if group.rank == 0, do: :erlang.term_to_binary(term), else: ""
    size = sum(byte_size(bytes), group)
    bytes = if group.rank == 0, do: Mlx.from_binary(bytes, {size}, :u8), else: Mlx.zeros({size}, type: :u8)
    bytes |> all(:all_sum, group) |> Mlx.to_binary() |> :erlang.binary_to_term()
  end

  @doc "The container of arrays of the first process, where all have arrays of the same shapes and types."
  @spec from_first(Tree.t(), group()) :: Tree.t()
  def from_first(container, nil), do: container

  def from_first(container, group) do
    Tree.map(container, fn array -> array |> of_first(group) |> all(:all_sum, group) end)
  end

  defp of_first(array, %Group{rank: 0}), do: array
  defp of_first(array, _group), do: Mlx.zeros_like(array)

  @doc "Raises unless all processes have the same term. `what` says what it is made of."
  @spec same!(group(), term(), String.t()) :: :ok
  def same!(nil, _term, _what), do: :ok

  def same!(group, term, what) do
    hash = Mlx.array(:erlang.phash2(term, 2 ** 31), type: :s64)

    if Mlx.to_number(all(hash, :all_max, group)) != Mlx.to_number(all(hash, :all_min, group)) do
      raise ArgumentError, "Mlx.Training.run: expected #{what} to be the same in all processes of the group"
    end

    :ok
  end

  @doc "Whether it holds in one of the processes."
  @spec any?(group(), boolean()) :: boolean()
  def any?(nil, holds?), do: holds?
  def any?(group, holds?), do: sum(if(holds?, do: 1, else: 0), group) > 0

  @doc "The sum of an integer, or of an array, over the processes."
  @spec sum(integer() | Array.t(), group()) :: integer() | Array.t()
  def sum(value, nil), do: value
  def sum(%Array{} = array, group), do: all(array, :all_sum, group)
  def sum(integer, group), do: integer |> Mlx.array(type: :s64) |> all(:all_sum, group) |> Mlx.to_number()

  defp all(array, operation, group) do
    CalledFunction.name("Mlx.Training.run", ["Mlx.Distributed"], fn ->
      apply(Distributed, operation, [array, [group: group]])
    end)
  end

  @doc """
  The rows of a batch that are those of this process, and their weight: how many they are for each one that would be the
  equal share. The weight of an equal share is nil. Raises where there is no row for each process.
  """
  @spec part!(Tree.t(), group()) :: {Tree.t(), Array.t() | nil}
  def part!(batch, nil), do: {batch, nil}

  def part!(batch, group) do
    {rows, range} = rows!(batch, group)

    if rows < group.size do
      raise ArgumentError,
            "Mlx.Training.run: expected batches of at least #{group.size} rows, which the processes of :group share, " <>
              "got one of #{rows}; Mlx.Training.batches/3 leaves it out with drop_last: true"
    end

    weight = if rem(rows, group.size) != 0, do: Mlx.array(Range.size(range) * group.size / rows)
    {rows_of(batch, range), weight}
  end

  @doc "The rows of a batch that are those of this process, or nil where there is none for it."
  @spec part(Tree.t(), group()) :: Tree.t() | nil
  def part(batch, nil), do: batch

  def part(batch, group) do
    {_rows, range} = rows!(batch, group)
    if Range.size(range) > 0, do: rows_of(batch, range)
  end

  defp rows!(batch, %Group{rank: rank, size: size}) do
    rows = Batches.rows!(batch, "Mlx.Training.run", ", which the processes of :group share")
    {rows, div(rank * rows, size)..(div((rank + 1) * rows, size) - 1)//1}
  end

  defp rows_of(batch, range), do: Tree.map(batch, & &1[range])

  @doc "What `fun` returns with its random numbers from a key, and the next key. Each process has random numbers of its own."
  @spec with_random(group(), Array.t(), (-> result)) :: {result, Array.t()} when result: var
  def with_random(nil, key, fun), do: Random.with_state(key, fun)

  def with_random(group, key, fun) do
    [next, step] = key |> Random.split() |> Mlx.unstack()
    {result, _state} = step |> Random.split(parts: group.size) |> Mlx.at(group.rank) |> Random.with_state(fun)
    {result, next}
  end
end
