defmodule Mlx.NonFinite.Operations do
  @moduledoc false
  # Where operations are looked through for `Mlx.NonFinite`.
  #
  # A persistent term says whether anything is checked anywhere: every operation asks for it, and for nothing else while it
  # is not there. It holds what `Mlx.NonFinite.enable/1` has checked in all processes, and the dictionary of a process what
  # is checked there in its place.

  alias Mlx.{NonFiniteError, Tree}
  alias Mlx.Arguments.CalledFunction
  alias Mlx.NonFinite.Search

  @key {__MODULE__, :kinds}

  # What stands for elements of a kind among arguments.
  @terms [nan: [:nan], infinity: [:infinity, :neg_infinity]]

  @doc """
  Evaluates the body, and checks what it returns if anything is checked. `name` is that of the public function, and
  `arguments` is the list of what it was given.
  """
  defmacro checked(name, arguments, do: body) do
    quote do
      if :persistent_term.get(Mlx.NonFinite, nil) do
        Mlx.NonFinite.Operations.run(unquote(name), unquote(arguments), fn -> unquote(body) end)
      else
        unquote(body)
      end
    end
  end

  @doc "Has these kinds checked in all processes."
  @spec watch([Mlx.NonFinite.kind()]) :: :ok
  def watch(kinds), do: :persistent_term.put(Mlx.NonFinite, kinds)

  @doc "Has these kinds checked in the calling process while the function runs."
  @spec watch_within([Mlx.NonFinite.kind()], (-> result)) :: result when result: term()
  def watch_within(kinds, fun) do
    # It stays: nobody knows when the last process has ended that asks its dictionary.
    if :persistent_term.get(Mlx.NonFinite, nil) == nil, do: watch([])
    previous = Process.put(@key, kinds)

    try do
      fun.()
    after
      if previous, do: Process.put(@key, previous), else: Process.delete(@key)
    end
  end

  @doc "Runs a function inside of which arrays have no values to be checked."
  @spec unchecked((-> result)) :: result when result: term()
  def unchecked(fun), do: if(on?(), do: watch_within([], fun), else: fun.())

  @doc "Whether anything is checked in the calling process."
  @spec on?() :: boolean()
  def on?, do: kinds() != []

  defp kinds do
    case :persistent_term.get(Mlx.NonFinite, nil) do
      nil -> []
      everywhere -> Process.get(@key, everywhere)
    end
  end

  @doc "What `fun` returns, checked if anything is checked in the calling process."
  @spec run(String.t(), [term()], (-> result)) :: result when result: term()
  def run(function, arguments, fun) do
    case kinds() do
      [] -> fun.()
      kinds -> function |> CalledFunction.name(["Mlx.to_number"], fn -> compute(function, arguments, fun, kinds) end)
    end
  end

  # Functions among the arguments are the user's, whose operations are checked one by one. Other operations are those that
  # an operation is made of.
  defp compute(function, arguments, fun, kinds) do
    result = if Enum.any?(arguments, &is_function/1), do: fun.(), else: watch_within([], fun)
    watch_within([], fn -> check(function, arguments, result, kinds) end)
    result
  end

  defp check(function, arguments, result, kinds) do
    for array <- Tree.arrays(result), kind <- kinds, found = Search.first(array, [kind]), not given?(arguments, kind) do
      raise struct!(NonFiniteError, [function: function] ++ found)
    end
  end

  defp given?(arguments, kind) do
    mentions?(arguments, @terms[kind]) or arguments |> Tree.arrays() |> Enum.any?(&(Search.first(&1, [kind]) != nil))
  end

  defp mentions?([first | rest], terms), do: mentions?(first, terms) or mentions?(rest, terms)
  defp mentions?(tuple, terms) when is_tuple(tuple), do: tuple |> Tuple.to_list() |> mentions?(terms)
  defp mentions?(other, terms), do: other in terms
end
