defmodule Mlx.LM.Decoder.EntryIndexer do
  @moduledoc """
  The choice of compressed entries that a position sees, by small entries of their own:

      q = rotate(q_b_proj(query latent)) by heads
      worth = sum over heads of weights_proj(x) * relu(q . entry)

  The `top` entries of the greatest worth are seen, of those that are complete.
  """

  alias Mlx.{Array, NN}
  alias Mlx.Arguments.Options
  alias Mlx.LM.Decoder.{Compressor, Parameter, TailRotation}

  defstruct [:pool, :q_b_proj, :weights_proj, :heads, :size, :top, :rope]

  @type t :: %__MODULE__{}

  @doc """
  An indexer with zeros for arrays. Options: `:width`, `:query_latent`, `:heads`, `:top`, `:rope`, that of positions, and
  `:pool`, the options of `Mlx.LM.Decoder.Compressor`.
  """
  @spec new(keyword()) :: t()
  def new(options) do
    defaults = [width: nil, query_latent: nil, heads: nil, top: nil, rope: nil, pool: []]

    [width, latent, heads, top, rope, pool] =
      Options.without_stream(options, :"LM.Decoder.EntryIndexer.new", defaults)

    %__MODULE__{
      pool: Compressor.new(pool),
      q_b_proj: Parameter.linear(latent, heads * pool[:size]),
      weights_proj: Parameter.linear(width, heads),
      heads: heads,
      size: pool[:size],
      top: top,
      rope: rope
    }
  end

  @doc """
  The numbers of the chosen entries, `{batch, length, top}`, of those that `complete`, booleans `{length, entries}`, says.
  Where fewer are complete, others are among them.
  """
  @spec choose(t(), {Array.t(), Array.t(), non_neg_integer() | Array.t()}, Array.t(), Array.t()) :: Array.t()
  def choose(%__MODULE__{} = indexer, inputs, entries, complete) do
    best(Mlx.select(complete, worth(indexer, inputs, entries, & &1), :neg_infinity), indexer.top)
  end

  @doc """
  The worth of each entry for each position, `{batch, length, entries}`. Of the indexer count `q_b_proj`, `weights_proj`,
  `heads`, `size` and `rope`. `rounded` is a function of the queries.
  """
  @spec worth(struct(), {Array.t(), Array.t(), non_neg_integer() | Array.t()}, Array.t(), (Array.t() -> Array.t())) ::
          Array.t()
  def worth(%{heads: heads, size: size} = indexer, {x, low, start}, entries, rounded) do
    %Array{shape: {batch, length, _width}} = x
    queries = indexer.q_b_proj |> NN.Layer.call(low) |> Mlx.reshape({batch, length, heads, size}) |> Mlx.swap_axes(1, 2)
    queries = indexer.rope |> TailRotation.call(queries, start) |> rounded.() |> Mlx.as_type(:f32)
    scores = queries |> Mlx.matmul(Mlx.matrix_transpose(Mlx.as_type(entries, :f32))) |> Mlx.max(0)
    weights = indexer.weights_proj |> NN.Layer.call(x) |> Mlx.as_type(:f32) |> Mlx.swap_axes(1, 2) |> Mlx.new_axis(-1)
    Mlx.sum(Mlx.multiply(scores, weights), axes: [1])
  end

  @doc "The numbers of the `top` greatest of each row."
  @spec best(Array.t(), pos_integer()) :: Array.t()
  def best(%Array{shape: {batch, length, _count}} = worth, top) do
    worth
    |> Mlx.negate()
    |> Mlx.argpartition(top - 1)
    |> Mlx.slice([0, 0, 0], [batch, length, top])
    |> Mlx.stop_gradient()
  end
end
