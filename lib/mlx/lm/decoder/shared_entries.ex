defmodule Mlx.LM.Decoder.SharedEntries do
  @moduledoc false
  # What attention of DeepSeek V4.1 sees beside its window (`Mlx.LM.Decoder.CompressedAttention`). A layer with a compressor
  # makes entries, and a layer with an indexer chooses some of them; the layers after it see what they left in the step.

  alias Mlx.Array
  alias Mlx.LM.{CompressedCache, KeyValueCache, RotatingCache}
  alias Mlx.LM.Decoder.{CandidateIndexer, CompressedAttention, Compressor, FloatRounding, Mixer, RoPE, TailRotation}

  @block 16

  @doc "The keys that the queries see, who sees whom, the cache and the step, for the keys of the window."
  @spec seen(struct(), {Array.t(), Array.t(), non_neg_integer() | Array.t()}, Array.t(), struct(), Mixer.step()) ::
          {Array.t(), nil | :causal | Array.t(), struct(), Mixer.step()}
  def seen(attention, inputs, keys, cache, step) do
    {keys, mask, cache, step} = made(attention, inputs, keys, cache, step)
    step = if attention.indexer && step[:index], do: chosen(attention.indexer, inputs, step), else: step

    case step do
      %{entries: entries, chosen: {places, visible}} when attention.shared != :window ->
        entries = if places, do: CompressedAttention.at(entries, places), else: entries
        {keys, mask} = CompressedAttention.both(keys, mask, {entries, visible})
        {keys, mask, cache, step}

      _nothing ->
        {keys, mask, cache, step}
    end
  end

  defp made(%{compressor: nil}, _inputs, keys, cache, step) do
    {keys, _values, mask, cache} = RotatingCache.update(cache, keys, keys)
    {keys, mask, cache, step}
  end

  defp made(%{compressor: compressor, indexer: indexer} = attention, {x, _low, start}, keys, cache, step) do
    {keys, _values, mask, window} = RotatingCache.update(cache.window, keys, keys)
    {plain, rows} = Compressor.call(compressor, x, start, cache.rows && elem(cache.rows, 0))
    {rope, first} = by_entries(attention.rope, compressor.ratio, start)
    new = FloatRounding.fours(TailRotation.call(rope, plain, first), @block, :e4m3)
    # Without an indexer something small stands beside the entries.
    index = if indexer, do: CandidateIndexer.keys(indexer, plain, rope, first), else: new[[.., .., .., 0..0]]
    {entries, index, _mask, all} = KeyValueCache.update(cache.entries, new, index)
    step = Map.merge(step, if(indexer, do: %{entries: entries, index: index}, else: %{entries: entries}))
    {keys, mask, CompressedCache.put(cache, window, all, {rows}), step}
  end

  # The rotation whose steps are entries, and the number of the first one.
  defp by_entries(%RoPE{frequencies: %Array{} = waves} = rope, ratio, start) do
    {%{rope | frequencies: Mlx.divide(waves, ratio)}, first(start, ratio)}
  end

  defp by_entries(%RoPE{frequencies: waves} = rope, ratio, start) do
    {%{rope | frequencies: Enum.map(waves, &(&1 / ratio))}, first(start, ratio)}
  end

  defp first(start, ratio) when is_integer(start), do: div(start, ratio)
  defp first(start, ratio), do: Mlx.floor_divide(start, ratio)

  defp chosen(indexer, inputs, step) do
    {chosen, candidates} = CandidateIndexer.choose(indexer, inputs, step.index, step[:candidates])
    Map.merge(step, %{chosen: chosen, candidates: candidates})
  end
end
