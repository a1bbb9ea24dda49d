defmodule Mlx.Arguments.ArgumentType do
  @moduledoc false
  # The types of arguments, as specs have them: whether a term may be of one, and what it is in words.
  #
  # A type of which nothing is known here may be any term, and has no words.

  alias Mlx.Array

  @type t :: Macro.t()

  # type in a spec, whether a term may be of it, in words
  @types [
    {"Mlx.Array.t()", &__MODULE__.array?/1, "an Mlx.Array"},
    {"Mlx.Array.operand()", &__MODULE__.operand?/1, "an Mlx.Array or a number"},
    {"[Mlx.Array.t()]", &__MODULE__.list?/1, "a list of arrays"},
    {"[Mlx.Array.t() | number()]", &__MODULE__.list?/1, "a list of arrays"},
    {"[Mlx.Array.operand()]", &__MODULE__.list?/1, "a list of arrays and numbers"},
    {"[integer()]", &__MODULE__.list?/1, "a list of integers"},
    {"[String.t()]", &__MODULE__.list?/1, "a list of strings"},
    {"Mlx.Type.t()", &__MODULE__.type?/1, "a type such as :f32 (see Mlx.Type)"},
    {"Path.t()", &__MODULE__.path?/1, "a path, which is a string"},
    {"atom()", &is_atom/1, "an atom"},
    {"keyword()", &Keyword.keyword?/1, "options, a keyword list"},
    {"function()", &is_function/1, "a function"},
    {"integer()", &is_integer/1, "an integer"},
    {"pos_integer()", &is_integer/1, "a positive integer"},
    {"non_neg_integer()", &is_integer/1, "an integer that is not negative"},
    {"binary()", &is_binary/1, "a binary"},
    {"String.t()", &is_binary/1, "a string"}
  ]

  @doc "The type of a spec in which the module writes its own types without its name and others by aliases."
  @spec expand(t(), Macro.Env.t()) :: t()
  def expand(type, env) do
    Macro.prewalk(type, fn
      {:__aliases__, _, _} = module -> Macro.expand(module, env)
      {:t, _, arguments} when arguments in [[], nil] -> quote(do: unquote(env.module).t())
      # A type may be written without parentheses.
      {name, _, context} when is_atom(context) -> {name, [], []}
      {_form, _, _} = node -> Macro.update_meta(node, fn _ -> [] end)
      other -> other
    end)
  end

  @doc "Whether a term may be of the type."
  @spec may_be?(term(), t()) :: boolean()
  def may_be?(term, {:|, _, [type, other]}), do: may_be?(term, type) or may_be?(term, other)
  def may_be?(term, literal) when is_atom(literal) or is_integer(literal), do: term === literal
  def may_be?(term, [{:->, _, [[{:..., _, _}], _result]}]), do: is_function(term)
  def may_be?(term, [{:->, _, [arguments, _result]}]), do: is_function(term, length(arguments))

  def may_be?(term, type) do
    case {known(type), type} do
      {{_type, may_be?, _words}, _} -> may_be?.(term)
      {nil, [_element, {:..., _, _}]} -> list?(term) and term != []
      {nil, list} when is_list(list) -> list?(term)
      {nil, {:%{}, _, _}} -> is_map(term) and not is_struct(term)
      {nil, {{:., _, [module, :t]}, _, []}} -> not struct?(module) or is_struct(term, module)
      {nil, _unknown} -> true
    end
  end

  @doc "The type in words, if there are any."
  @spec words(t()) :: String.t() | nil
  def words({:|, _, [type, other]}) do
    with first when first != nil <- words(type), second when second != nil <- words(other), do: "#{first} or #{second}"
  end

  def words(literal) when is_atom(literal) or is_integer(literal), do: inspect(literal)
  def words([{:->, _, [[{:..., _, _}], _result]}]), do: "a function"
  def words([{:->, _, [arguments, _result]}]), do: function_words(length(arguments))

  def words(type) do
    case {known(type), type} do
      {{_type, _may_be?, words}, _} -> words
      {nil, [_element, {:..., _, _}]} -> "a list that is not empty"
      {nil, list} when is_list(list) -> "a list"
      {nil, {:%{}, _, _}} -> "a map"
      {nil, {{:., _, [module, :t]}, _, []}} -> if struct?(module), do: "an #{inspect(module)}"
      {nil, _unknown} -> nil
    end
  end

  @doc "A function of so many arguments, in words."
  @spec function_words(arity()) :: String.t()
  def function_words(0), do: "a function without arguments"
  def function_words(1), do: "a function of one argument"
  def function_words(count), do: "a function of #{count} arguments"

  @doc "Whether arrays are of the type, so that it helps to say what makes an array of something."
  @spec of_arrays?(t()) :: boolean()
  def of_arrays?(type), do: Macro.to_string(type) in ["Mlx.Array.t()", "Mlx.Array.operand()"]

  defp known(type), do: List.keyfind(@types, Macro.to_string(type), 0)

  defp struct?(module), do: Code.ensure_loaded?(module) and function_exported?(module, :__struct__, 0)

  @doc false
  def array?(term), do: is_struct(term, Array)

  @doc false
  def operand?(term) do
    array?(term) or is_number(term) or is_boolean(term) or term in [:nan, :infinity, :neg_infinity] or
      match?({re, im} when is_number(re) and is_number(im), term)
  end

  @doc false
  def list?(term), do: is_list(term) and not List.improper?(term)

  @doc false
  def path?(term), do: is_binary(term) or list?(term)

  @doc false
  def type?(term), do: term in Mlx.Type.all()
end
