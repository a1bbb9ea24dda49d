defmodule Mlx.Ulps do
  @moduledoc "How far two arrays of one type are apart, in units in the last place, or as a share of the largest element."

  @doc "Whether no element differs by more than a share of the largest wanted one. Any NaN is the same as any other."
  @spec within_share?(Mlx.Array.t(), Mlx.Array.t(), number() | nil) :: boolean()
  def within_share?(_got, _wanted, nil), do: false

  def within_share?(got, wanted, share) do
    same = Mlx.logical_or(Mlx.equal(got, wanted), Mlx.logical_and(Mlx.is_nan(got), Mlx.is_nan(wanted)))
    difference = Mlx.select(same, 0, Mlx.abs(Mlx.subtract(got, wanted)))
    finite = Mlx.select(Mlx.is_finite(wanted), Mlx.abs(wanted), 0)
    [difference, largest] = for array <- [difference, finite], do: array |> Mlx.reduce_max() |> Mlx.to_number()
    # `:nan` and `:infinity` are greater than every number.
    difference <= share * largest
  end

  @doc """
  The greatest distance of two elements: 0 when all are the same, and `:infinity` when elements differ that have no such
  distance, which are integers and booleans, and a NaN beside a number. Any NaN is the same as any other. The two zeros
  are neighbours.
  """
  @spec distance(Mlx.Type.t(), binary(), binary()) :: non_neg_integer() | :infinity
  def distance(_type, same, same), do: 0
  def distance(type, got, wanted), do: measure(layout(type), got, wanted)

  defp measure(:exact, _got, _wanted), do: :infinity

  defp measure({bits, exponent_bits}, got, wanted) do
    for {a, b} <- Enum.zip(ordinals(got, bits, exponent_bits), ordinals(wanted, bits, exponent_bits)), reduce: 0 do
      greatest -> if a == :nan or b == :nan, do: with_nan(a, b, greatest), else: max(greatest, abs(a - b))
    end
  end

  # `:infinity` is greater than every number.
  defp with_nan(same, same, greatest), do: greatest
  defp with_nan(_a, _b, _greatest), do: :infinity

  defp layout(:f16), do: {16, 5}
  defp layout(:bf16), do: {16, 8}
  defp layout(:f32), do: {32, 8}
  defp layout(:c64), do: {32, 8}
  defp layout(:f64), do: {64, 11}
  defp layout(_type), do: :exact

  # Neighbouring floating-point numbers have neighbouring ordinals.
  defp ordinals(bytes, bits, exponent_bits) do
    largest = Bitwise.bsl(Bitwise.bsl(1, exponent_bits) - 1, bits - 1 - exponent_bits)

    for <<word::native-size(bits) <- bytes>> do
      <<sign::1, magnitude::size(bits - 1)>> = <<word::size(bits)>>
      if magnitude > largest, do: :nan, else: if(sign == 1, do: -magnitude - 1, else: magnitude)
    end
  end
end
