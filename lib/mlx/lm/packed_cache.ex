defmodule Mlx.LM.PackedCache do
  @moduledoc false
  # The cache of a call that reads rows of several texts, keeps nothing, and has gradients: a position sees those before it in
  # its own text. `length` has the positions in their texts, `{batch, length}`.

  alias Mlx.Array
  alias Mlx.LM.{Cache, Decoder, KeyValueCache, RotatingCache}
  alias Mlx.LM.Decoder.{Attention, Block, LatentAttention}

  @enforce_keys [:length, :mask]
  defstruct @enforce_keys

  @type t :: %__MODULE__{length: Array.t(), mask: Array.t()}

  @doc "Raises for a decoder with mixers that read a row as one text. `function` and `option` are those that the error names."
  @spec check!(Decoder.t(), String.t(), String.t()) :: :ok
  def check!(%{model: %{layers: blocks}}, function, option) do
    for {block, number} <- Enum.with_index(blocks), mixer <- Block.mixers(block), not apart?(mixer) do
      raise ArgumentError,
            "#{function}: #{option} is for models whose layers keep the texts of a row apart, and block #{number} has a " <>
              "#{inspect(mixer.__struct__)} that reads a row as one text; give each text a row of its own"
    end

    :ok
  end

  defp apart?(%Attention{chunk: nil, blocks: nil, indexer: nil, mixture: nil, rope: rope}), do: for_places?(rope)
  defp apart?(%LatentAttention{indexer: nil, rope: rope}), do: for_places?(rope)
  defp apart?(_mixer), do: false

  # Angles that depend on the length are those of a whole row.
  defp for_places?(rope), do: rope == nil or rope.dynamic == nil

  @doc """
  Such caches in the place of empty ones of attention. `starts` says, `{batch, length}`, at which place of its row the text of
  each token begins.
  """
  @spec all([Cache.t()], Array.t()) :: [t()]
  def all(caches, %Array{shape: {_batch, length}} = starts) do
    places = Mlx.arange(0, length, type: :s32)
    positions = Mlx.subtract(places, starts)
    {queries, keys} = {Mlx.new_axis(places, 1), Mlx.new_axis(places, 0)}
    same = Mlx.equal(Mlx.new_axis(starts, 2), Mlx.new_axis(starts, 1))
    mask = same |> Mlx.logical_and(Mlx.less_equal(keys, queries)) |> Mlx.new_axis(1)
    back = Mlx.subtract(queries, keys)
    # Layers of one window share one mask.
    masks =
      for window <- caches |> Enum.map(&window/1) |> Enum.uniq(), into: %{}, do: {window, within(mask, back, window)}

    for cache <- caches, do: %__MODULE__{length: positions, mask: masks[window(cache)]}
  end

  defp window(%KeyValueCache{}), do: nil
  defp window(%RotatingCache{window: window, keep: 0}), do: window

  defp within(mask, _back, nil), do: mask
  defp within(mask, back, window), do: Mlx.logical_and(mask, Mlx.less(back, window))

  @doc "As `Mlx.LM.KeyValueCache.update/3`."
  @spec update(t(), Array.t(), Array.t()) :: {Array.t(), Array.t(), Array.t(), t()}
  def update(%__MODULE__{mask: mask} = cache, keys, values), do: {keys, values, mask, cache}
end
