defmodule Mlx.Transforms.RecordedCall do
  @moduledoc false
  # Functions recorded for the arguments of one call, as native functions take them to describe or to write them.

  alias Mlx.{Array, Tree}
  alias Mlx.Arguments.{Arity, CalledFunction, Given}
  alias Mlx.Transforms.Recording

  @type t :: {program :: reference(), inputs :: [Array.t()], keywords :: [String.t()], captured :: [Array.t()]}

  @doc "Records the function for such arguments: a list of arrays, which may end with keywords."
  @spec record(String.t(), function(), [Array.t() | {atom(), Array.t()}]) :: t()
  def record(name, fun, arguments) do
    {arrays, keywords} = split!(name, arguments)
    form = if keywords == [], do: arrays, else: arrays ++ [keywords]
    Arity.check!(fun, length(form), name)
    recorded = Recording.without_values(name, form, Recording.shapes(form), &apply(fun, &1))
    check_result!(name, recorded.result)

    CalledFunction.name(name, ["Mlx.eval"], fn ->
      Recording.evaluate_captured!(recorded.captured, "#{name}: the function")
    end)

    # Those of a keyword list come in its order.
    {recorded.program, Tree.arrays(form), keywords |> Keyword.keys() |> Enum.map(&Atom.to_string/1), recorded.captured}
  end

  @doc "The positional arguments and the keywords."
  @spec split!(String.t(), [Array.t() | {atom(), Array.t()}]) :: {[Array.t()], keyword(Array.t())}
  def split!(name, arguments) when is_list(arguments) do
    {arrays, keywords} = Enum.split_while(arguments, &is_struct(&1, Array))
    names = Enum.map(keywords, fn {key, %Array{}} when is_atom(key) -> key end)
    if Enum.uniq(names) != names, do: raise(ArgumentError, "#{name}: a keyword is given twice: #{inspect(names)}")
    {arrays, keywords}
  rescue
    FunctionClauseError -> wrong_arguments!(name, arguments)
  end

  def split!(name, arguments), do: wrong_arguments!(name, arguments)

  @spec wrong_arguments!(String.t(), term()) :: no_return()
  defp wrong_arguments!(name, arguments) do
    raise ArgumentError,
          "#{name}: expected a list of arrays, which may end with keywords, got: #{Given.text(arguments)}"
  end

  defp check_result!(name, result) do
    if not (is_struct(result, Array) or arrays?(result)) do
      raise ArgumentError,
            "#{name}: expected a function that returns an array, or a list or tuple of arrays, got: #{Given.text(result)}"
    end
  end

  defp arrays?(tuple) when is_tuple(tuple), do: tuple |> Tuple.to_list() |> arrays?()
  defp arrays?(list), do: is_list(list) and Enum.all?(list, &is_struct(&1, Array))
end
