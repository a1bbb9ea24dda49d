if Code.ensure_loaded?(Nx) do
  defmodule Mlx.Nx.Backend.Shape do
    @moduledoc false
    # The same elements in another shape or order, with others beside or between them.

    import Mlx.Nx.Backend.Conversion, only: [cast: 2, shaped: 2, type: 1]

    alias Mlx.{Array, Native}
    alias Nx.Tensor

    @spec reshape(Tensor.t(), Array.t()) :: Array.t()
    def reshape(out, array), do: shaped(array, out.shape)

    @spec squeeze(Tensor.t(), Array.t(), [non_neg_integer()]) :: Array.t()
    def squeeze(out, array, _axes), do: shaped(array, out.shape)

    @spec broadcast(Tensor.t(), Array.t(), tuple(), [non_neg_integer()]) :: Array.t()
    def broadcast(_out, %Array{shape: from} = array, shape, axes) do
      ones = Tuple.duplicate(1, tuple_size(shape))

      sizes =
        axes |> Enum.with_index() |> Enum.reduce(ones, fn {axis, i}, sizes -> put_elem(sizes, axis, elem(from, i)) end)

      array = shaped(array, sizes)
      if sizes == shape, do: array, else: Native.broadcast_to(array, shape, nil)
    end

    @spec transpose(Tensor.t(), Array.t(), [non_neg_integer()]) :: Array.t()
    def transpose(_out, array, axes), do: ordered(array, axes)

    @doc "The array with its axes in an order; itself if they have it."
    @spec ordered(Array.t(), [non_neg_integer()]) :: Array.t()
    def ordered(%Array{shape: shape} = array, axes) do
      if axes == Enum.to_list(0..(tuple_size(shape) - 1)//1), do: array, else: Native.transpose_axes(array, axes, nil)
    end

    @spec reverse(Tensor.t(), Array.t(), [non_neg_integer()]) :: Array.t()
    def reverse(_out, array, axes), do: Native.flip_axes(array, axes, nil)

    @spec pad(Tensor.t(), Array.t(), Array.t(), [{integer(), integer(), non_neg_integer()}]) :: Array.t()
    def pad(out, array, value, config), do: padded(cast(array, type(out)), cast(value, type(out)), config)

    @doc """
    The array with elements beside and between its own. `config` has for every axis how many come before the first one, after
    the last one, and between two; fewer than none are taken away.
    """
    @spec padded(Array.t(), Array.t() | number(), [{integer(), integer(), non_neg_integer()}]) :: Array.t()
    def padded(array, value, config) do
      array |> spread(value, config) |> extend(value, config) |> shorten(config)
    end

    defp spread(%Array{shape: shape} = array, value, config) do
      if Enum.all?(config, &match?({_, _, 0}, &1)) do
        array
      else
        sizes = Enum.zip_with(Tuple.to_list(shape), config, fn size, {_, _, between} -> size + (size - 1) * between end)
        starts = Enum.map(sizes, fn _size -> 0 end)
        strides = Enum.map(config, fn {_, _, between} -> between + 1 end)
        sizes |> Native.full(value, array.type, nil) |> Native.slice_update(array, starts, sizes, strides, nil)
      end
    end

    defp extend(array, value, config) do
      low = for {low, _high, _between} <- config, do: max(low, 0)
      high = for {_low, high, _between} <- config, do: max(high, 0)

      if Enum.all?(low ++ high, &(&1 == 0)) do
        array
      else
        Native.pad(
          array,
          Enum.to_list(0..(length(config) - 1)),
          low,
          high,
          cast_value(value, array.type),
          "constant",
          nil
        )
      end
    end

    defp cast_value(%Array{} = value, type), do: cast(value, type)
    defp cast_value(number, type), do: Native.scalar(number, type)

    defp shorten(%Array{shape: shape} = array, config) do
      if Enum.all?(config, fn {low, high, _} -> low >= 0 and high >= 0 end) do
        array
      else
        starts = for {low, _high, _between} <- config, do: max(-low, 0)
        stops = Enum.zip_with(Tuple.to_list(shape), config, fn size, {_, high, _} -> size - max(-high, 0) end)
        Native.slice(array, starts, stops, List.duplicate(1, length(starts)), nil)
      end
    end

    @spec concatenate(Tensor.t(), [Array.t()], non_neg_integer()) :: Array.t()
    def concatenate(out, arrays, axis), do: Native.concatenate_axis(alike(arrays, out), axis, nil)

    @spec stack(Tensor.t(), [Array.t()], non_neg_integer()) :: Array.t()
    def stack(out, arrays, axis), do: Native.stack_axis(alike(arrays, out), axis, nil)

    defp alike(arrays, out), do: Enum.map(arrays, &cast(&1, type(out)))
  end
end
