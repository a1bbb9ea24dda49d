defmodule Mlx.Differential.Draw do
  @moduledoc """
  Random choices, from the process's own sequence of `:rand`: the same ones after the same seed.
  """

  @most_elements 400
  # Small sizes meet every border; the larger ones are longer than the vectors of a processor, and not their multiples.
  @sizes [1, 1, 2, 2, 3, 4, 5, 7, 8, 16, 19, 33]

  @doc "True once in `n` times."
  def chance?(n), do: :rand.uniform(n) == 1

  @doc "One of the elements of a list or a range."
  def one_of(choices), do: Enum.random(choices)

  @doc "Each of `count` elements from a function."
  def several(count, fun), do: for(_ <- 1..count//1, do: fun.())

  @doc "A real number from `low` to `high`."
  def real(low, high), do: low + (high - low) * :rand.uniform()

  @doc """
  A shape. Options: `:rank`, a range (default `0..4`); `:empty`, whether an axis may have the size 0 (default true).
  """
  def shape(options \\ []) do
    rank = one_of(Keyword.get(options, :rank, 0..4))
    sizes = if Keyword.get(options, :empty, true) and chance?(16), do: [0, 0 | @sizes], else: @sizes
    sizes |> sizes(rank, @most_elements) |> Enum.shuffle() |> List.to_tuple()
  end

  defp sizes(_choices, 0, _most), do: []

  defp sizes(choices, rank, most) do
    size = one_of(Enum.filter(choices, &(&1 <= most)))
    [size | sizes(choices, rank - 1, div(most, max(size, 1)))]
  end

  @doc "A shape that broadcasts together with another one: without leading axes, and with sizes of 1."
  def beside(shape) do
    sizes = Tuple.to_list(shape)
    dropped = if chance?(3), do: one_of(0..length(sizes)), else: 0
    List.to_tuple(for size <- Enum.drop(sizes, dropped), do: if(chance?(4), do: 1, else: size))
  end

  @doc "An axis of a shape, also counted from the end."
  def axis(shape), do: one_of(-tuple_size(shape)..(tuple_size(shape) - 1)//1)

  @doc "Different axes of a shape, also counted from the end."
  def axes(shape) do
    rank = tuple_size(shape)
    for axis <- Enum.take_random(0..(rank - 1)//1, one_of(0..rank)), do: if(chance?(3), do: axis - rank, else: axis)
  end

  @doc "What an option for several axes takes: nothing, one axis, or a list."
  def axes_option(shape) when shape == {}, do: one_of([nil, []])
  def axes_option(shape), do: one_of([nil, axis(shape), axis(shape), axes(shape), axes(shape)])

  @doc "What an option for one axis takes: an axis, or `without`."
  def axis_option(shape, without) when shape == {}, do: without
  def axis_option(shape, without), do: one_of([without, axis(shape), axis(shape)])

  @doc "True or false."
  def flag, do: one_of([true, false])

  @doc "The size along an axis."
  def size_along(shape, axis), do: elem(shape, if(axis < 0, do: axis + tuple_size(shape), else: axis))

  @doc "A factorisation of a number into `count` sizes."
  def factors(number, 1), do: [number]
  def factors(0, count), do: Enum.shuffle([0 | several(count - 1, fn -> one_of(1..3) end)])

  def factors(number, count) do
    factor = one_of(for n <- 1..number, rem(number, n) == 0, do: n)
    [factor | factors(div(number, factor), count - 1)]
  end
end
