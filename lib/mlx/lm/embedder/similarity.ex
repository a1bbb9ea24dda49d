defmodule Mlx.LM.Embedder.Similarity do
  @moduledoc false
  # How alike the rows of two matrices are.

  alias Mlx.{Array, Linalg}

  # What a length is divided by is no smaller.
  @least 1.0e-12

  @doc "The vectors `{n, dims}` with the length 1."
  @spec normalize(Array.t()) :: Array.t()
  def normalize(x), do: Mlx.divide(x, Mlx.max(Linalg.norm(x, axes: [-1], keep_axes: true), @least))

  @doc "The array `{n, m}` for `{n, dims}` and `{m, dims}`."
  @spec call(:cosine | :dot | :euclidean | :manhattan, Array.t(), Array.t()) :: Array.t()
  def call(:cosine, a, b), do: call(:dot, normalize(a), normalize(b))
  def call(:dot, a, b), do: Mlx.matmul(a, Mlx.transpose(b))

  def call(:euclidean, a, b),
    do: a |> differences(b) |> Mlx.square() |> Mlx.sum(axes: [-1]) |> Mlx.sqrt() |> Mlx.negate()

  def call(:manhattan, a, b), do: a |> differences(b) |> Mlx.abs() |> Mlx.sum(axes: [-1]) |> Mlx.negate()

  defp differences(a, b), do: Mlx.subtract(Mlx.new_axis(a, 1), Mlx.new_axis(b, 0))
end
