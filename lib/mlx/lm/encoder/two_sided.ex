defmodule Mlx.LM.Encoder.TwoSided do
  @moduledoc false
  # In place of a cache of a decoder: each position of a text sees those on both sides of it, or those in a window around it.
  # It keeps nothing.

  alias Mlx.Array
  alias Mlx.LM.{Cache, KeyValueCache, RotatingCache}
  alias Mlx.LM.Encoder.Attention

  @enforce_keys [:lengths, :window]
  defstruct [:lengths, :window, length: 0]

  @type t :: %__MODULE__{lengths: Array.t(), window: non_neg_integer() | nil, length: 0}

  @doc "In place of the cache of a mixer. A window of so many positions is half on either side."
  @spec in_place_of(Cache.t(), Array.t()) :: t()
  def in_place_of(%KeyValueCache{}, lengths), do: %__MODULE__{lengths: lengths, window: nil}

  def in_place_of(%RotatingCache{window: window}, lengths) do
    %__MODULE__{lengths: lengths, window: div(window, 2)}
  end

  @doc "The keys and values, and who sees whom."
  @spec update(t(), Array.t(), Array.t()) :: {Array.t(), Array.t(), Array.t(), t()}
  def update(%__MODULE__{} = cache, %Array{shape: {_, _, length, _}} = keys, values) do
    {keys, values, Attention.mask(cache.lengths, cache.window, {0, length}, {0, length}), cache}
  end
end
