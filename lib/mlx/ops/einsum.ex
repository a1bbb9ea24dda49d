defmodule Mlx.Ops.Einsum do
  @moduledoc false
  # Products of any number of arrays, described by the letters of their axes.

  use Mlx.Ops.Topic, title: "Einsum"

  alias Mlx.{Array, Native}
  alias Mlx.Arguments.Options
  alias Mlx.Ops.EinsumPath

  @doc """
  The sum over products that a subscript string describes (Einstein notation).

      iex> a = Mlx.array([[1.0, 2.0], [3.0, 4.0]])
      iex> Mlx.einsum("ij,kj->ik", [a, a]) |> Mlx.to_list()
      [[5.0, 11.0], [11.0, 25.0]]

      iex> Mlx.einsum("ii", [Mlx.array([[1.0, 2.0], [3.0, 4.0]])]) |> Mlx.to_number()
      5.0

  Python: `mlx.core.einsum`.
  """
  @spec einsum(String.t(), [Array.t()], keyword()) :: Array.t()
  def einsum(subscripts, arrays, options \\ []) when is_binary(subscripts) and length(arrays) >= 0 do
    stream = Options.stream(options, :einsum)
    EinsumPath.check!(subscripts, arrays)
    Native.einsum(subscripts, arrays, stream)
  end

  @doc """
  The order in which `einsum/2` contracts its arrays, and what that costs.

  Returns `{path, info}`. `path` has a tuple of positions for each step: those arrays are taken out of the list, and
  their contraction is put at its end. `info` has the number of floating-point operations of all arrays at once
  (`:naive_cost`) and of the path (`:optimized_cost`), and the most indices that one step runs over (`:naive_scaling`,
  `:optimized_scaling`).

      iex> [a, b, c] = [Mlx.zeros({5, 8}), Mlx.zeros({8, 10}), Mlx.zeros({10, 7})]
      iex> Mlx.einsum_path("ij,jk,kl", [a, b, c])
      {[{1, 2}, {0, 1}], %{naive_cost: 8400, naive_scaling: 4, optimized_cost: 1680, optimized_scaling: 3}}

  Raises an `ArgumentError` when the subscripts do not fit the arrays.

  Python: `mlx.core.einsum_path`, which describes the costs in a text.
  """
  @spec einsum_path(String.t(), [Array.t()]) :: {[tuple()], %{atom() => non_neg_integer()}}
  def einsum_path(subscripts, arrays) when is_binary(subscripts) and length(arrays) >= 0 do
    EinsumPath.path(subscripts, arrays)
  end
end
