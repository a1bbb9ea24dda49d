defmodule Mlx.LM.ChatTemplate.Dict do
  @moduledoc false
  # A Python dictionary: pairs in the order in which they were put, with keys that are equal as Python says (`1`, `1.0` and
  # `True` are one key).

  alias Mlx.LM.ChatTemplate.{Problem, Value}

  defstruct pairs: [], index: %{}

  @type t :: %__MODULE__{pairs: [{term, term}], index: %{term => term}}

  @doc "The dictionary of a list of pairs; of equal keys the first gives the place and the last the value."
  @spec new([{term, term}]) :: t
  def new(pairs) do
    index = Map.new(pairs, fn {key, value} -> {key(key), value} end)

    pairs = pairs |> Enum.uniq_by(fn {key, _value} -> key(key) end)
    %__MODULE__{pairs: Enum.map(pairs, fn {key, _value} -> {key, index[key(key)]} end), index: index}
  end

  @doc "The value of a key."
  @spec fetch(t, term) :: {:ok, term} | :error
  def fetch(%__MODULE__{index: index}, key), do: Map.fetch(index, key(key))

  @doc "Whether there is a value of a key."
  @spec member?(t, term) :: boolean
  def member?(%__MODULE__{index: index}, key), do: is_map_key(index, key(key))

  @doc "The keys in their order."
  @spec keys(t) :: [term]
  def keys(%__MODULE__{pairs: pairs}), do: Enum.map(pairs, &elem(&1, 0))

  @doc "The values in their order."
  @spec values(t) :: [term]
  def values(%__MODULE__{pairs: pairs}), do: Enum.map(pairs, &elem(&1, 1))

  @doc "What is the same for keys that are equal. Fails for a value that can't be a key."
  @spec key(term) :: term
  def key(true), do: 1
  def key(false), do: 0
  def key(key) when is_float(key) and trunc(key) == key, do: trunc(key)
  def key({:tuple, items}), do: {:tuple, Enum.map(items, &key/1)}
  def key(key) when is_list(key) or is_struct(key), do: Problem.fail("unhashable type: '#{Value.type(key)}'")
  def key(key), do: key
end
