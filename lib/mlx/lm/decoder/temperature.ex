defmodule Mlx.LM.Decoder.Temperature do
  @moduledoc false
  # Queries that grow with their position, so that attention stays sharp in long texts.

  alias Mlx.Array

  @typedoc "`{beta, length}`: the factor `1 + beta log(1 + floor(position / length))`."
  @type t :: {number(), pos_integer()} | nil

  @doc "The queries `{batch, heads, length, features}`, whose first position is `start`."
  @spec call(t(), Array.t(), non_neg_integer() | Array.t()) :: Array.t()
  def call(nil, queries, _start), do: queries

  def call({beta, original}, %Array{shape: {_, _, length, _}} = queries, start) do
    positions = Mlx.add(Mlx.arange(0, length, type: :s32), start)

    growth =
      positions |> Mlx.divide(original) |> Mlx.floor() |> Mlx.add(1) |> Mlx.log() |> Mlx.multiply(beta) |> Mlx.add(1)

    Mlx.multiply(queries, growth |> Mlx.new_axis(1) |> Mlx.as_type(queries.type))
  end
end
