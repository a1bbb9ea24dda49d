defmodule Mlx.LM.Encoder.OneSided do
  @moduledoc false
  # In place of a cache of a decoder that reads a text in parts, in one graph: each position sees those before it, or the last
  # ones of them.

  alias Mlx.Array
  alias Mlx.LM.{Cache, KeyValueCache, RotatingCache}
  alias Mlx.LM.Decoder.Mask

  @enforce_keys [:window]
  defstruct [:window, keys: nil, values: nil, length: 0]

  @type t :: %__MODULE__{
          window: pos_integer() | nil,
          keys: Array.t() | nil,
          values: Array.t() | nil,
          length: non_neg_integer()
        }

  @doc "In place of the cache of a mixer."
  @spec in_place_of(Cache.t()) :: t()
  def in_place_of(%KeyValueCache{}), do: %__MODULE__{window: nil}
  def in_place_of(%RotatingCache{window: window}), do: %__MODULE__{window: window}

  @doc "The keys and values of all positions so far, who sees whom, and the cache with these."
  @spec update(t(), Array.t(), Array.t()) :: {Array.t(), Array.t(), :causal | Array.t(), t()}
  def update(%__MODULE__{window: window, length: start} = cache, %Array{shape: {_, _, length, _}} = keys, values) do
    [all, all_values] = for {before, new} <- [{cache.keys, keys}, {cache.values, values}], do: joined(before, new)
    mask = if window, do: Mask.window(window, start, keys, all), else: :causal
    {all, all_values, mask, %{cache | keys: all, values: all_values, length: start + length}}
  end

  defp joined(nil, new), do: new
  defp joined(before, new), do: Mlx.concatenate([before, new], axis: 2)
end
