defmodule Mlx.LM.Decoder.HyperConnection do
  @moduledoc """
  What a part of a block takes of several residual streams, and how its output comes back into them:

      pre, post, comb = parts of scale * fn(x / rms(x)) + base, where x is all streams one after the other
      taken = sum over streams of (sigmoid(pre) + eps) * stream
      streams = 2 sigmoid(post) * output + transposed M streams

  where M is `softmax(comb) + eps` with rows and columns of the sum 1, by turns.

  Source: Xie and others, "mHC: Manifold-Constrained Hyper-Connections" (2025).
  """

  alias Mlx.{Array, Fast}
  alias Mlx.Arguments.Options
  alias Mlx.LM.Decoder.Parameter

  defstruct [:fn, :base, :scale, :count, :turns, :norm_eps, :eps]

  @type t :: %__MODULE__{}

  @doc """
  A connection with zeros for arrays. Options: `:width`, `:count` of streams, `:turns`, how often rows and columns are
  normalised, `:norm_eps`, and `:eps`.
  """
  @spec new(keyword()) :: t()
  def new(options) do
    defaults = [width: nil, count: nil, turns: nil, norm_eps: nil, eps: nil]

    [width, count, turns, norm_eps, eps] =
      Options.without_stream(options, :"LM.Decoder.HyperConnection.new", defaults)

    numbers = (2 + count) * count

    %__MODULE__{
      fn: Parameter.zeros({numbers, count * width}),
      base: Parameter.zeros({numbers}),
      scale: Parameter.zeros({3}),
      count: count,
      turns: turns,
      norm_eps: norm_eps,
      eps: eps
    }
  end

  @doc "What is taken of the streams, `{batch, length, streams, width}`, and what `give/3` needs."
  @spec take(t(), Array.t()) :: {Array.t(), {Array.t(), Array.t()}}
  def take(%__MODULE__{} = layer, streams) do
    {factors, back} = factors(layer, streams)
    {collapsed(factors, streams), back}
  end

  @doc "How much is taken of each stream, `{batch, length, streams}`, and what `give/3` needs."
  @spec factors(t(), Array.t()) :: {Array.t(), {Array.t(), Array.t()}}
  def factors(%__MODULE__{count: count, eps: eps} = layer, %Array{shape: {batch, length, _, _}} = streams) do
    mixes = mixes(streams, layer.fn, layer.norm_eps)
    [pre, post, comb] = Mlx.split(mixes, [count, 2 * count], axis: -1)
    [of_pre, of_post, of_comb] = Mlx.split(layer.base, [count, 2 * count])
    [by_pre, by_post, by_comb] = Mlx.split(layer.scale, 3)
    pre = Mlx.add(Mlx.sigmoid(Mlx.add(Mlx.multiply(pre, by_pre), of_pre)), eps)
    post = Mlx.multiply(Mlx.sigmoid(Mlx.add(Mlx.multiply(post, by_post), of_post)), 2)
    comb = Mlx.reshape(Mlx.add(Mlx.multiply(comb, by_comb), of_comb), {batch, length, count, count})
    comb = comb |> Mlx.softmax(axes: -1, precise: true) |> Mlx.add(eps) |> balanced(layer)
    {pre, {post, comb}}
  end

  # Columns first, then rows and columns.
  defp balanced(comb, %__MODULE__{turns: turns, eps: eps}) do
    Enum.reduce(2..turns//1, normalized(comb, -2, eps), fn _turn, comb ->
      comb |> normalized(-1, eps) |> normalized(-2, eps)
    end)
  end

  defp normalized(comb, axis, eps), do: Mlx.divide(comb, Mlx.add(Mlx.sum(comb, axes: [axis], keep_axes: true), eps))

  @doc "The streams after a part has given `y`, `{batch, length, width}`."
  @spec give({Array.t(), Array.t()}, Array.t(), Array.t()) :: Array.t()
  def give({post, comb}, y, %Array{type: type} = streams) do
    [post, comb] = for x <- [post, comb], do: Mlx.as_type(x, type)
    own = Mlx.multiply(Mlx.new_axis(post, -1), Mlx.new_axis(y, -2))
    Mlx.add(own, Mlx.matmul(Mlx.swap_axes(comb, -1, -2), streams))
  end

  @doc false
  # The products of a matrix and the normalised streams.
  @spec mixes(Array.t(), Array.t(), float()) :: Array.t()
  def mixes(%Array{shape: {batch, length, count, width}} = streams, matrix, eps) do
    flat = streams |> Mlx.reshape({batch, length, count * width}) |> Mlx.as_type(:f32) |> Fast.rms_norm(nil, eps: eps)
    Mlx.matmul(flat, Mlx.transpose(Mlx.as_type(matrix, :f32)))
  end

  @doc false
  # The sum of streams, each with a factor.
  @spec collapsed(Array.t(), Array.t()) :: Array.t()
  def collapsed(factors, streams) do
    factors |> Mlx.new_axis(-1) |> Mlx.multiply(streams) |> Mlx.sum(axes: [2]) |> Mlx.as_type(streams.type)
  end
end
