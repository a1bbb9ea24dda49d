defmodule Mlx.Mismatch do
  @moduledoc false
  # What is said of arguments that no clause of a function takes: which one it is, by the types of the function's spec,
  # and how to come by what was expected.

  alias Mlx.{Array, Given}

  # type in a spec, whether a term may be of it, in words
  @types [
    {"Mlx.Array.t()", &__MODULE__.array?/1, "an Mlx.Array"},
    {"Mlx.Array.operand()", &__MODULE__.operand?/1, "an Mlx.Array or a number"},
    {"[Mlx.Array.t()]", &is_list/1, "a list of arrays"},
    {"[Mlx.Array.t() | number()]", &is_list/1, "a list of arrays"},
    {"keyword()", &Keyword.keyword?/1, "options, a keyword list"},
    {"function()", &is_function/1, "a function"},
    {"integer()", &is_integer/1, "an integer"},
    {"non_neg_integer()", &is_integer/1, "an integer that is not negative"},
    {"binary()", &is_binary/1, "a binary"},
    {"String.t()", &is_binary/1, "a string"}
  ]

  # Where it helps to say what makes an array of something.
  @arrays ["Mlx.Array.t()", "Mlx.Array.operand()"]

  @doc """
  Raises for an error of `function`, which a function of the same name in `module` called, when no clause took the
  arguments. Any other error is raised again.
  """
  @spec reraise(Exception.t(), Exception.stacktrace(), {module(), atom()}, module(), [String.t()]) :: no_return()
  def reraise(error, stacktrace, {topic, name}, module, types) do
    case stacktrace do
      [{^topic, ^name, arguments, _location} | rest] when is_list(arguments) ->
        message = "#{inspect(module)}.#{name}: #{message(arguments, types)}"
        Kernel.reraise(ArgumentError, [message: message], [{module, name, length(arguments), []} | rest])

      _inside ->
        Kernel.reraise(error, stacktrace)
    end
  end

  defp message(arguments, types) do
    case arguments |> Enum.zip(types) |> Enum.find_value(&unlike/1) do
      nil ->
        "expected arguments of the types #{Enum.join(types, ", ")}, got: #{Enum.map_join(arguments, ", ", &Given.text/1)}"

      message ->
        message
    end
  end

  defp unlike({argument, type}) do
    with {_type, may_be?, words} <- List.keyfind(@types, type, 0), false <- may_be?.(argument) do
      "expected #{words}, got: #{Given.text(argument)}#{if type in @arrays, do: Given.hint(argument)}"
    else
      _fits_or_unknown -> nil
    end
  end

  @doc false
  def array?(term), do: is_struct(term, Array)

  @doc false
  def operand?(term) do
    array?(term) or is_number(term) or is_boolean(term) or term in [:nan, :infinity, :neg_infinity] or
      match?({re, im} when is_number(re) and is_number(im), term)
  end
end
