defmodule Mlx.NN.Interpolation do
  @moduledoc false
  # Arrays `{batch, axis_1, ..., channels}` with other sizes along the axes between the batch and the channels.
  #
  # Along an axis an element of the result is a sum of some elements. These are `taps`: pairs of the indices of the elements
  # and of their weights, one of each for each element of the result.

  use Mlx.Operators

  alias Mlx.Array

  @type tap :: {indices :: Array.t(), weights :: Array.t()}

  @doc "The nearest elements."
  @spec nearest(Array.t(), [number()]) :: Array.t()
  def nearest(%Array{shape: shape} = x, factors) do
    if Enum.all?(factors, &(trunc(&1) == &1)) do
      repeated(x, Enum.map(factors, &trunc/1))
    else
      indices = for {factor, axis} <- Enum.with_index(factors), do: nearest_indices(elem(shape, axis + 1), factor)
      Mlx.at(x, [.. | along_axes(indices)])
    end
  end

  defp repeated(%Array{shape: shape} = x, factors) do
    [batch | rest] = Tuple.to_list(shape)
    {lengths, [channels]} = Enum.split(rest, -1)
    shape_of = fn fun -> [batch | Enum.flat_map(Enum.zip(lengths, factors), fun)] ++ [channels] end

    x
    |> Mlx.reshape(shape_of.(fn {length, _factor} -> [length, 1] end))
    |> Mlx.broadcast(shape_of.(fn {length, factor} -> [length, factor] end))
    |> Mlx.reshape(shape_of.(fn {length, factor} -> [length * factor] end))
  end

  defp nearest_indices(length, factor) do
    size = trunc(factor * length)
    places = Mlx.arange(size, type: :f32)

    if size > length,
      do: Mlx.as_type(Mlx.round((places + 0.5) * (length / size) - 0.5), :u32),
      else: Mlx.as_type(places * (length / size), :u32)
  end

  @doc "The sums over the taps of all axes together."
  @spec joint(Array.t(), [number()], map()) :: Array.t()
  def joint(x, factors, settings) do
    taps = taps_of_axes(x, factors, settings)

    terms =
      for combination <- combinations(taps) do
        {indices, weights} = Enum.unzip(combination)
        weight = weights |> along_axes() |> Enum.reduce(&(&2 * &1)) |> Mlx.new_axis(-1)
        weight * Mlx.at(x, [.. | along_axes(indices)])
      end

    Enum.reduce(terms, &(&2 + &1))
  end

  @doc "The sums over the taps of one axis after the other."
  @spec separable(Array.t(), [number()], map()) :: Array.t()
  def separable(x, factors, settings) do
    count = length(factors)

    x
    |> taps_of_axes(factors, settings)
    |> Enum.with_index()
    |> Enum.reduce(x, fn {taps, axis}, x ->
      terms =
        for {indices, weights} <- taps do
          Mlx.take(x, indices, axis: axis + 1) * Mlx.new_axis(along_axis(weights, axis, count), -1)
        end

      Enum.reduce(terms, &(&2 + &1))
    end)
  end

  defp taps_of_axes(%Array{shape: shape}, factors, settings) do
    for {factor, axis} <- Enum.with_index(factors), do: taps(elem(shape, axis + 1), factor, settings)
  end

  defp combinations([]), do: [[]]
  defp combinations([taps | rest]), do: for(tap <- taps, others <- combinations(rest), do: [tap | others])

  # Arrays of one axis, each along its own.
  defp along_axes(arrays) do
    for {array, axis} <- Enum.with_index(arrays), do: along_axis(array, axis, length(arrays))
  end

  defp along_axis(array, axis, count) do
    Mlx.reshape(array, 1 |> List.duplicate(count) |> List.replace_at(axis, -1))
  end

  defp taps(length, factor, %{antialias: true, mode: :linear} = settings) do
    antialiased(length, factor, settings, 1, &max(1.0 - &1, 0.0))
  end

  defp taps(length, factor, %{antialias: true, mode: :cubic} = settings) do
    antialiased(length, factor, settings, 2, fn x ->
      Mlx.select(x <= 1.0, inner(x, -0.5), Mlx.select(x <= 2.0, outer(x, -0.5), 0.0))
    end)
  end

  defp taps(length, factor, %{mode: :linear} = settings) do
    places = Mlx.clip(places(length, factor, settings), 0, length - 1)
    left = Mlx.floor(places)
    weight = places - left
    [{Mlx.as_type(left, :u32), 1 - weight}, {Mlx.as_type(Mlx.ceil(places), :u32), weight}]
  end

  defp taps(length, factor, %{mode: :cubic} = settings) do
    places = places(length, factor, settings)
    {left, right} = {Mlx.floor(places), Mlx.floor(places + 1)}

    for {neighbour, weight} <- [{left, &inner/2}, {right, &inner/2}, {left - 1, &outer/2}, {right + 1, &outer/2}] do
      {inside(neighbour, length), weight.(Mlx.abs(places - neighbour), -0.75)}
    end
  end

  # The kernel is as wide as the elements that one of the result stands for.
  defp antialiased(length, factor, settings, radius, kernel) do
    places = places(length, factor, settings)
    width = if factor < 1, do: 1.0 / factor, else: 1.0
    reach = ceil(radius * width)

    {neighbours, weights} =
      Enum.unzip(
        for offset <- -reach..reach do
          neighbour = Mlx.floor(places) + offset
          weight = kernel.(Mlx.abs(places - neighbour) / width)
          {neighbour, Mlx.select(neighbour >= 0 &&& neighbour < length, weight, 0.0)}
        end
      )

    sum = Enum.reduce(weights, &(&2 + &1))
    sum = Mlx.select(sum > 0, sum, 1.0)
    Enum.zip_with(neighbours, weights, &{inside(&1, length), &2 / sum})
  end

  defp inside(neighbours, length), do: neighbours |> Mlx.clip(0, length - 1) |> Mlx.as_type(:u32)

  # The cubic convolution at a distance of at most 1, and between 1 and 2.
  defp inner(x, a), do: ((a + 2.0) * x - (a + 3.0)) * x * x + 1
  defp outer(x, a), do: (((x - 5) * x + 8) * x - 4) * a

  # Where the elements of the result are in the array.
  defp places(length, factor, settings) do
    size = trunc(factor * length)
    indices = Mlx.arange(size, type: :f32)

    if settings.align_corners do
      indices * ((length - 1) / max(size - 1, 1))
    else
      step = 1 / factor
      indices * step - ((size - 1) * step - length + 1) / 2
    end
  end
end
