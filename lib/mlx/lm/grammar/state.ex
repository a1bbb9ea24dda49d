defmodule Mlx.LM.Grammar.State do
  @moduledoc """
  A place in a text of a grammar, which `Mlx.LM.Grammar.start/2` and `Mlx.LM.Grammar.accept/2` give. It is a value: an earlier
  one is still good, as speculation needs it.
  """

  alias Mlx.LM.Grammar.{Compiled, Stacks, TokenSet}

  @enforce_keys [:compiled, :items, :end_ids, :ends]
  defstruct @enforce_keys ++ [first: true, ended: false]

  @typep items :: Stacks.t()
  @typep token_set :: TokenSet.t()

  @type t :: %__MODULE__{
          compiled: Compiled.t(),
          items: items,
          end_ids: MapSet.t(non_neg_integer()),
          ends: token_set,
          first: boolean(),
          ended: boolean()
        }

  defimpl Inspect do
    def inspect(state, _options), do: "#Mlx.LM.Grammar.State<#{length(state.items)} readings>"
  end
end
