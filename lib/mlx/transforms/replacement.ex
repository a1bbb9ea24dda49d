defmodule Mlx.Transforms.Replacement do
  @moduledoc false
  # Arrays that take the place of others: what a function changes beside its result, as a forward pass changes the running
  # statistics of `Mlx.NN.BatchNorm`.
  #
  # `leave/2` says that from now on one array stands for another. Who wants to know has the function run by `collect/1`,
  # and puts the new arrays into what it has with `put/2`. Outside of `collect/1` nothing is left, and nothing stays in the
  # process when it ends.
  #
  # A transform calls the function with placeholders, and an array of its record must not be left outside. So it records
  # `carried/1`, whose result holds the new arrays too, and gives what came of it to `received/2`, which leaves them for
  # the caller. What the other transforms record leaves nothing: see `dropped/1`.

  alias Mlx.{Array, Tree}

  # The new arrays by the reference of the one that they stand for, the innermost scope first.
  @scopes {__MODULE__, :scopes}

  @type pair :: {former :: Array.t(), new :: Array.t()}

  @typedoc "A result, and new arrays with what they stand for: the array of that number in the arguments, or one from outside."
  @type carried(result) :: {result, [{non_neg_integer() | (-> Array.t()), Array.t()}]}

  @doc "Whether somebody wants to know."
  @spec wanted?() :: boolean()
  def wanted?, do: Process.get(@scopes) != nil

  @doc "The result of `fun`, and which arrays stand for others after it."
  @spec collect((-> result)) :: {result, [pair()]} when result: term()
  def collect(fun) do
    outer = Process.get(@scopes)
    Process.put(@scopes, [%{} | outer || []])

    try do
      result = fun.()
      [left | _] = Process.get(@scopes)
      {result, Map.values(left)}
    after
      if outer, do: Process.put(@scopes, outer), else: Process.delete(@scopes)
    end
  end

  @doc "The result of `fun`, of which nothing is left."
  @spec dropped((-> result)) :: result when result: term()
  def dropped(fun) do
    if wanted?(), do: fun |> collect() |> elem(0), else: fun.()
  end

  @doc "Says that from now on `new` stands for `former`."
  @spec leave(Array.t(), Array.t()) :: :ok
  def leave(%Array{ref: ref} = former, %Array{} = new) do
    with [left | outer] <- Process.get(@scopes), do: Process.put(@scopes, [Map.put(left, ref, {former, new}) | outer])
    :ok
  end

  @doc "The array that stands for `former` now."
  @spec current(Array.t()) :: Array.t()
  def current(%Array{ref: ref} = former) do
    Enum.find_value(Process.get(@scopes, []), former, fn left ->
      with %{^ref => {_former, new}} <- left, do: new, else: (_none -> nil)
    end)
  end

  @doc "The container with the new arrays."
  @spec put(Tree.t(), [pair()]) :: Tree.t()
  def put(container, []), do: container

  def put(container, pairs) do
    new = Map.new(pairs, fn {former, new} -> {former.ref, new} end)
    Tree.map(container, &Map.get(new, &1.ref, &1))
  end

  @doc "The function of a list of arguments that does what `fun` does and also returns what it leaves."
  @spec carried((... -> result)) :: ([term()] -> carried(result)) when result: term()
  def carried(fun) do
    if wanted?(), do: &carry(fun, &1), else: &{apply(fun, &1), []}
  end

  defp carry(fun, arguments) do
    {result, pairs} = collect(fn -> apply(fun, arguments) end)
    numbers = arguments |> Tree.arrays() |> Enum.with_index() |> Map.new(fn {array, number} -> {array.ref, number} end)
    # Transforms do not look into functions.
    {result, for({former, new} <- pairs, do: {Map.get(numbers, former.ref, fn -> former end), new})}
  end

  @doc "The result of what `carried/1` gave, for these arguments; leaves what it carries."
  @spec received(carried(result), [term()]) :: result when result: term()
  def received({result, []}, _arguments), do: result

  def received({result, carried}, arguments) do
    arrays = Tree.arrays(arguments)

    for {place, new} <- carried do
      leave(if(is_integer(place), do: Enum.at(arrays, place), else: place.()), new)
    end

    result
  end
end
