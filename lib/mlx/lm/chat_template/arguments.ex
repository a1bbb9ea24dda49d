defmodule Mlx.LM.ChatTemplate.Arguments do
  @moduledoc false
  # Gives the arguments of a call to the parameters of a function.

  alias Mlx.LM.ChatTemplate.Problem

  @doc """
  The values of `parameters`, each a name with its default, or `:required` for a parameter that has none.

      iex> Mlx.LM.ChatTemplate.Arguments.bind("join", [", "], [{"attribute", "x"}], d: "", attribute: nil)
      [", ", "x"]
  """
  @spec bind(String.t(), [term], [{String.t(), term}], keyword) :: [term]
  def bind(name, positional, keywords, parameters) do
    if length(positional) > length(parameters),
      do: Problem.fail("#{name}() takes at most #{length(parameters)} arguments")

    for {key, _value} <- keywords,
        not Enum.any?(parameters, fn {parameter, _} -> Atom.to_string(parameter) == key end) do
      Problem.fail("#{name}() got an unexpected keyword argument '#{key}'")
    end

    bind_each(name, positional, keywords, parameters)
  end

  defp bind_each(_name, [], _keywords, []), do: []

  defp bind_each(name, [value | positional], keywords, [_parameter | parameters]) do
    [value | bind_each(name, positional, keywords, parameters)]
  end

  defp bind_each(name, [], keywords, [{parameter, default} | parameters]) do
    value =
      case List.keyfind(keywords, Atom.to_string(parameter), 0) do
        {_key, value} -> value
        nil when default == :required -> Problem.fail("#{name}() needs the argument '#{parameter}'")
        nil -> default
      end

    [value | bind_each(name, [], keywords, parameters)]
  end
end
