defmodule Mlx.NN.Windows do
  @moduledoc false
  # The windows of pooling layers.

  alias Mlx.Array

  @doc """
  The windows of an array `{batch, axis_1, ..., channels}`: `{batch, places_1, ..., size_1, ..., channels}`.
  """
  @spec of(Array.t(), [pos_integer()], [pos_integer()]) :: Array.t()
  def of(%Array{shape: shape} = x, sizes, strides) do
    lengths = shape |> Tuple.to_list() |> Enum.slice(1..-2//1)

    if sizes == strides,
      do: side_by_side(x, Enum.zip(lengths, sizes)),
      else: strided(x, Enum.zip([lengths, sizes, strides]))
  end

  # They only have to be told apart, without what is left over at the ends.
  defp side_by_side(%Array{shape: shape} = x, axes) do
    {batch, channels, count} = {elem(shape, 0), elem(shape, tuple_size(shape) - 1), length(axes)}
    used = for {length, size} <- axes, do: length - rem(length, size)
    split = Enum.flat_map(axes, fn {length, size} -> [div(length, size), size] end)
    [places, within] = for first <- [1, 2], do: Enum.take_every(first..(2 * count)//1, 2)

    x
    |> Mlx.slice(List.duplicate(0, count + 2), [batch | used] ++ [channels])
    |> Mlx.reshape([batch | split] ++ [channels])
    |> Mlx.transpose(axes: [0 | places] ++ within ++ [2 * count + 1])
  end

  defp strided(%Array{shape: shape} = x, axes) do
    {batch, channels} = {elem(shape, 0), elem(shape, tuple_size(shape) - 1)}
    places = for {length, size, stride} <- axes, do: div(length - size, stride) + 1
    sizes = for {_length, size, _stride} <- axes, do: size
    [of_batch | of_axes] = steps(axes, channels)
    of_places = Enum.zip_with(axes, of_axes, fn {_length, _size, stride}, step -> stride * step end)
    Mlx.as_strided(x, [batch | places] ++ sizes ++ [channels], [of_batch | of_places] ++ of_axes ++ [1])
  end

  # How many elements apart neighbours along the batch and along each axis are.
  defp steps(axes, channels) do
    axes
    |> Enum.reverse()
    |> Enum.scan(channels, fn {length, _, _}, step -> length * step end)
    |> Enum.reverse([channels])
  end
end
