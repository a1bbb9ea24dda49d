defmodule Mlx.LM.Decoder.KeyMixture do
  @moduledoc false
  # Keys and values that are mixed with those of the position before, with two factors for each head.

  alias Mlx.Array
  alias Mlx.LM.StateCache
  alias Mlx.LM.Decoder.{Parameter, TokenShift}

  @enforce_keys [:keys, :values]
  defstruct @enforce_keys

  @type t :: %__MODULE__{keys: Array.t(), values: Array.t()}

  @doc "A mixture with zeros for arrays, `{1, 1, heads, 1, 2}` each: the factors of the position before and of a position."
  @spec new(pos_integer()) :: t()
  def new(heads),
    do: %__MODULE__{keys: Parameter.zeros({1, 1, heads, 1, 2}), values: Parameter.zeros({1, 1, heads, 1, 2})}

  @doc "The mixed keys and values, `{batch, heads, length, features}`."
  @spec call(t(), Array.t(), Array.t(), StateCache.t()) :: {Array.t(), Array.t(), StateCache.t()}
  def call(%__MODULE__{} = mixture, keys, values, cache) do
    {last_key, last_value} = cache.state || {nil, nil}
    {mixed_keys, key} = mixed(mixture.keys, keys, last_key)
    {mixed_values, value} = mixed(mixture.values, values, last_value)
    {mixed_keys, mixed_values, StateCache.put(cache, {key, value}, Mlx.axis_size(keys, 2))}
  end

  defp mixed(factors, %Array{shape: {batch, heads, length, size}} = x, last) do
    last = last && Mlx.reshape(last, {batch * heads, 1, size})
    {before, last} = x |> Mlx.reshape({batch * heads, length, size}) |> TokenShift.call(last)
    [of_before, own] = factors |> Mlx.reshape({heads, 1, 1, 2}) |> Mlx.split(2, axis: -1)
    [of_before, own] = for factor <- [of_before, own], do: Mlx.reshape(factor, {heads, 1, 1})

    {Mlx.add(Mlx.multiply(Mlx.reshape(before, x.shape), of_before), Mlx.multiply(x, own)),
     Mlx.reshape(last, {batch, heads, size})}
  end
end
