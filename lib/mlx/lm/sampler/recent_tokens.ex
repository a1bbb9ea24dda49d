defmodule Mlx.LM.Sampler.RecentTokens do
  @moduledoc false
  # The tokens that came last, as an array `{1, size}` of the type s32 with the latest at the end. Its size never changes,
  # so that a function of it is compiled once. Where fewer tokens came, it begins with -1, which is no token.

  alias Mlx.Array

  @none -1

  @doc "A window of tokens, of which none came; nil where there is no need of one."
  @spec new(non_neg_integer()) :: Array.t() | nil
  def new(0), do: nil
  def new(size), do: Mlx.full({1, size}, @none, type: :s32)

  @doc "The window after tokens `{1, n}`."
  @spec observe(Array.t() | nil, Array.t()) :: Array.t() | nil
  def observe(nil, _tokens), do: nil

  def observe(%Array{shape: {1, size}} = recent, %Array{shape: {1, count}} = tokens) do
    [recent, Mlx.as_type(tokens, :s32)] |> Mlx.concatenate(axis: 1) |> Mlx.slice([0, count], [1, size])
  end

  @doc "The last `count` tokens as an array `{count}`."
  @spec last(Array.t(), pos_integer()) :: Array.t()
  def last(%Array{shape: {1, size}} = recent, count) do
    recent |> Mlx.slice([0, size - count], [1, count]) |> Mlx.squeeze(axes: [0])
  end

  @doc "How often each token of a vocabulary is among the last `count`, as an array `{1, vocabulary}` of the type f32."
  @spec counts(Array.t(), pos_integer(), pos_integer()) :: Array.t()
  def counts(recent, count, vocabulary) do
    tokens = recent |> last(count) |> Mlx.new_axis(0)
    came = Mlx.as_type(Mlx.greater(tokens, @none), :f32)
    Mlx.add_along_axis(Mlx.zeros({1, vocabulary}), Mlx.max(tokens, 0), came, axis: 1)
  end
end
