if Code.ensure_loaded?(Nx) do
  defmodule Mlx.Nx.Backend.Slicing do
    @moduledoc false
    # Blocks of arrays. Where a block begins may be known now, as integers, or computed with the block, as arrays.

    import Mlx.Nx.Backend.Conversion, only: [cast: 2, type: 1]

    alias Mlx.{Array, Native}
    alias Mlx.Ops.BlockStart
    alias Nx.Tensor

    @spec slice(Tensor.t(), Array.t(), [integer() | Array.t()], [pos_integer()], [pos_integer()]) :: Array.t()
    def slice(_out, array, starts, lengths, strides) do
      if Enum.all?(starts, &is_integer/1) do
        starts = clamp(starts, lengths, array.shape)
        Native.slice(array, starts, Enum.zip_with(starts, lengths, &+/2), strides, nil)
      else
        {start, axes} = BlockStart.new(starts, nil)
        array |> Native.slice_dynamic(start, axes, lengths, nil) |> every(lengths, strides)
      end
    end

    @spec put_slice(Tensor.t(), Array.t(), [integer() | Array.t()], Array.t()) :: Array.t()
    def put_slice(out, array, starts, slice) do
      {array, slice} = {cast(array, type(out)), cast(slice, type(out))}
      lengths = Tuple.to_list(slice.shape)

      if Enum.all?(starts, &is_integer/1) do
        starts = clamp(starts, lengths, array.shape)
        stops = Enum.zip_with(starts, lengths, &+/2)
        Native.slice_update(array, slice, starts, stops, ones(lengths), nil)
      else
        {start, axes} = BlockStart.new(starts, nil)
        Native.slice_update_dynamic(array, slice, start, axes, nil)
      end
    end

    defp every(array, lengths, strides) do
      if Enum.all?(strides, &(&1 == 1)), do: array, else: Native.slice(array, zeros(lengths), lengths, strides, nil)
    end

    # The native functions clamp arrays themselves.
    defp clamp(starts, lengths, shape) do
      Enum.zip_with([starts, lengths, Tuple.to_list(shape)], fn [start, length, size] ->
        start |> max(0) |> min(size - length)
      end)
    end

    defp ones(sizes), do: Enum.map(sizes, fn _size -> 1 end)
    defp zeros(sizes), do: Enum.map(sizes, fn _size -> 0 end)
  end
end
