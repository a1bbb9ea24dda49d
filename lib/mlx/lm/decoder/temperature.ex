defmodule Mlx.LM.Decoder.Temperature do
  @moduledoc false
  # Queries that grow with their position, so that attention stays sharp in long texts.

  alias Mlx.Array
  alias Mlx.LM.CacheRows

  @typedoc """
  `{beta, length}`: the factor `1 + beta log(1 + floor(position / length))`; `{beta, length, first}` calls the first
  position so, in place of 0.
  """
  @type t :: {number(), pos_integer()} | {number(), pos_integer(), non_neg_integer()} | nil

  @doc "The queries `{batch, heads, length, features}`, whose first position is `start`, or whose positions are."
  @spec call(t(), Array.t(), non_neg_integer() | Array.t()) :: Array.t()
  def call(nil, queries, _start), do: queries

  def call({beta, original}, queries, start), do: call({beta, original, 0}, queries, start)

  def call({beta, original, first}, %Array{shape: {_, _, length, _}} = queries, start) do
    positions = length |> positions(start) |> Mlx.add(first)

    growth =
      positions |> Mlx.divide(original) |> Mlx.floor() |> Mlx.add(1) |> Mlx.log() |> Mlx.multiply(beta) |> Mlx.add(1)

    Mlx.multiply(queries, Mlx.as_type(growth, queries.type))
  end

  defp positions(length, %Array{shape: shape} = start) when shape != {}, do: CacheRows.positions(start, length)
  defp positions(length, start), do: 0 |> Mlx.arange(length, type: :s32) |> Mlx.add(start) |> Mlx.new_axis(1)
end
