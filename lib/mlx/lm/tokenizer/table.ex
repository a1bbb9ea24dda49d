defmodule Mlx.LM.Tokenizer.Table do
  @moduledoc false
  # A large map of constants outside of all heaps: a process that holds it collects its garbage as fast as without, and a
  # message that carries it copies a reference. It is given back with the last reference. It cannot be sent to another node.

  alias Mlx.Native

  @enforce_keys [:ref, :size]
  defstruct @enforce_keys

  @type t :: %__MODULE__{ref: reference(), size: non_neg_integer()}

  @doc "A copy of the map, whose values are not nil."
  @spec new(map()) :: t()
  def new(map), do: %__MODULE__{ref: Native.table_new(map), size: map_size(map)}

  @doc "The value of a key, or nil. It takes about as long as in a map, and the time to copy the value."
  @spec get(t(), term()) :: term()
  def get(%__MODULE__{ref: ref}, key), do: Native.table_find(ref, key)
end
