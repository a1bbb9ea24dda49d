defmodule Mlx.LM.Decoder.CandidateIndexer do
  @moduledoc """
  The choice of compressed entries for several layers of `Mlx.LM.Decoder.CompressedAttention`: as
  `Mlx.LM.Decoder.EntryIndexer`, by keys that are made of the entries before they rotate, and of which both sides are rounded
  to 4 bits:

      key = rotate(k_norm(k_proj(entry)))

  One layer may choose the best blocks of so many entries, the last one among them, of which later layers choose their
  entries.
  """

  alias Mlx.{Array, NN}
  alias Mlx.Arguments.Options
  alias Mlx.LM.Decoder.{EntryIndexer, FloatRounding, Mask, Parameter, TailRotation}

  @block 32

  defstruct [:q_b_proj, :weights_proj, :k_proj, :k_norm, :heads, :size, :top, :rope, :ratio, :candidates]

  @type t :: %__MODULE__{}

  @doc """
  An indexer with zeros for arrays.

  Options:

    * `:width`, `:query_latent`, `:heads`, `:size` - sizes
    * `:top` - how many entries are chosen
    * `:rope` - that of positions
    * `:ratio` - how many positions an entry stands for
    * `:entry_size` - the features of an entry, of which it makes keys, or `nil` for one that makes none
    * `:norm` - that of keys, such as `{:rms, 1.0e-6}`
    * `:candidates` - `{blocks, size}`: how many blocks of how many entries it chooses for later layers, default `nil`
  """
  @spec new(keyword()) :: t()
  def new(options) do
    defaults = [width: nil, query_latent: nil, heads: nil, size: nil, top: nil, rope: nil, ratio: nil]

    [width, latent, heads, size, top, rope, ratio, entry_size, norm, candidates] =
      Options.without_stream(
        options,
        :"LM.Decoder.CandidateIndexer.new",
        defaults ++ [entry_size: nil, norm: nil, candidates: nil]
      )

    %__MODULE__{
      q_b_proj: Parameter.linear(latent, heads * size),
      weights_proj: Parameter.linear(width, heads),
      k_proj: entry_size && Parameter.linear(entry_size, size),
      k_norm: entry_size && Parameter.norm(norm, size),
      heads: heads,
      size: size,
      top: top,
      rope: rope,
      ratio: ratio,
      candidates: candidates
    }
  end

  @doc "The keys of entries `{batch, 1, count, entry size}`, which `rope` rotates from the one of the number `first` on."
  @spec keys(t(), Array.t(), struct(), non_neg_integer() | Array.t()) :: Array.t()
  def keys(%__MODULE__{} = indexer, entries, rope, first) do
    keys = NN.Layer.call(indexer.k_norm, NN.Layer.call(indexer.k_proj, entries))
    rounded(TailRotation.call(rope, keys, first))
  end

  defp rounded(x), do: FloatRounding.fours(x, @block, :power_of_two)

  @typedoc "The numbers of entries, `{batch, 1, top}`, or `nil` for all; and who sees which, `{batch, 1, length, entries}`."
  @type choice :: {Array.t() | nil, Array.t()}

  @doc """
  What positions see of the entries whose keys are given, `{batch, 1, count, size}`, of those that are complete and among the
  candidates `{batch, length, count}`, or all for `nil`; and the candidates for later layers.
  """
  @spec choose(t(), {Array.t(), Array.t(), non_neg_integer() | Array.t()}, Array.t(), Array.t() | nil) ::
          {choice(), Array.t() | nil}
  def choose(%__MODULE__{} = indexer, {x, _low, start} = inputs, keys, candidates) do
    %Array{shape: {batch, length, _width}} = x
    %Array{shape: {_, 1, count, _}} = keys
    complete = indexer.ratio |> Mask.complete(start, length, count) |> Mlx.broadcast({batch, length, count})

    if indexer.candidates do
      worth = worth(indexer, inputs, keys, complete)
      {best(indexer, worth, complete), candidates(indexer, worth, start)}
    else
      visible = if candidates, do: Mlx.logical_and(complete, candidates), else: complete
      worth = if count > indexer.top, do: worth(indexer, inputs, keys, visible)
      {best(indexer, worth, visible), candidates}
    end
  end

  defp worth(indexer, inputs, keys, visible) do
    Mlx.select(visible, EntryIndexer.worth(indexer, inputs, keys, &rounded/1), :neg_infinity)
  end

  # For one position only the chosen entries are looked up.
  defp best(%__MODULE__{top: top}, worth, %Array{shape: {_batch, length, count}} = visible) do
    cond do
      count <= top ->
        {nil, Mlx.new_axis(visible, 1)}

      length == 1 ->
        places = EntryIndexer.best(worth, top)
        {places, visible |> Mlx.take_along_axis(places, axis: 2) |> Mlx.new_axis(1)}

      true ->
        none = Mlx.zeros(visible.shape, type: :bool)
        kept = Mlx.put_along_axis(none, EntryIndexer.best(worth, top), Mlx.array(true), axis: -1)
        {nil, kept |> Mlx.logical_and(visible) |> Mlx.new_axis(1)}
    end
  end

  # The entries of the best blocks, by their best entries. The last block is always one of them: it is not full yet.
  defp candidates(%__MODULE__{candidates: {blocks, size}, ratio: ratio}, worth, start) do
    %Array{shape: {batch, length, count}} = worth
    total = div(count + size - 1, size)
    worth = Mlx.pad(worth, [{0, 0}, {0, 0}, {0, total * size - count}], value: :neg_infinity)
    of_blocks = worth |> Mlx.reshape({batch, length, total, size}) |> Mlx.reduce_max(axes: [-1])
    last = ratio |> Mask.complete_count(start, length) |> Mlx.add(size - 1) |> Mlx.floor_divide(size) |> Mlx.subtract(1)
    of_blocks = Mlx.select(Mlx.equal(Mlx.arange(0, total, type: :s32), last), :infinity, of_blocks)
    kept = if total <= blocks, do: Mlx.greater(of_blocks, :neg_infinity), else: greatest(of_blocks, blocks)
    kept |> Mlx.repeat(size, axis: -1) |> Mlx.slice([0, 0, 0], [batch, length, count])
  end

  defp greatest(of_blocks, blocks) do
    places = EntryIndexer.best(of_blocks, blocks)
    reachable = Mlx.greater(Mlx.take_along_axis(of_blocks, places, axis: -1), :neg_infinity)
    Mlx.put_along_axis(Mlx.zeros(of_blocks.shape, type: :bool), places, reachable, axis: -1)
  end
end
