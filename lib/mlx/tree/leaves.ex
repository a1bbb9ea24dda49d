defmodule Mlx.Tree.Leaves do
  @moduledoc false
  # What functions of `Mlx.Tree` act on: arrays, and whatever else the option `:is_leaf` says.

  alias Mlx.Array
  alias Mlx.Arguments.Given
  alias Mlx.Tree.Elements

  @typedoc "Whether something that is no array is a leaf; nil where arrays alone are."
  @type choice :: (term() -> as_boolean(term())) | nil

  @doc "The choice in the options of a function of `Mlx.Tree`."
  @spec choice!(keyword(), atom()) :: choice()
  def choice!([], _function), do: nil
  def choice!([is_leaf: choice], _function) when is_function(choice, 1) or is_nil(choice), do: choice

  def choice!(options, function) do
    raise ArgumentError,
          "Mlx.Tree.#{function}: expected the option :is_leaf, a function of one argument, got: #{Given.text(options)}"
  end

  @doc "Whether a term is a leaf."
  @spec leaf?(term(), choice()) :: boolean()
  def leaf?(%Array{}, _choice), do: true
  def leaf?(_term, nil), do: false
  def leaf?(term, choice), do: if(choice.(term), do: true, else: false)

  @doc "Whether there is a leaf in a term, or it is one."
  @spec in?(term(), choice()) :: boolean()
  def in?(term, nil), do: Mlx.Tree.arrays(term) != []
  def in?(term, choice), do: leaf?(term, choice) or Enum.any?(elements(term), &in?(&1, choice))

  @doc "The leaves, in the order of `Mlx.Tree.arrays/1`."
  @spec all(term(), choice()) :: [term()]
  def all(term, nil), do: Mlx.Tree.arrays(term)

  def all(term, choice) do
    if leaf?(term, choice), do: [term], else: term |> elements() |> Enum.flat_map(&all(&1, choice))
  end

  # Of an improper list, which has no indices, the parts.
  defp elements([head | tail]) when not is_list(tail), do: [head, tail]
  defp elements([head | tail] = list), do: if(List.improper?(list), do: [head, tail], else: list)
  defp elements(other), do: for({_key, element} <- Elements.pairs(other), do: element)
end
