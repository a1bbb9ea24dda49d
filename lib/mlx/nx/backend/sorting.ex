if Code.ensure_loaded?(Nx) do
  defmodule Mlx.Nx.Backend.Sorting do
    @moduledoc false
    # MLX sorts upwards, NaN last, and keeps the order of equal numbers. Downwards is that of the reversed array, reversed.

    import Mlx.Nx.Backend.Conversion, only: [cast: 2]

    alias Mlx.{Array, Native}
    alias Nx.Tensor

    @spec sort(Tensor.t(), Array.t(), keyword()) :: Array.t()
    def sort(_out, %Array{shape: {}} = array, _options), do: array

    def sort(_out, array, options) do
      sorted = Native.sort_axis(array, options[:axis], nil)
      if options[:direction] == :desc, do: Native.flip_axis(sorted, options[:axis], nil), else: sorted
    end

    @spec argsort(Tensor.t(), Array.t(), keyword()) :: Array.t()
    def argsort(_out, %Array{shape: {}}, _options), do: Native.scalar(0, :s32)
    def argsort(_out, array, options), do: order(array, options[:axis], options[:direction])

    @spec top_k(Array.t(), pos_integer()) :: {Array.t(), Array.t()}
    def top_k(%Array{shape: shape} = array, k) do
      axis = tuple_size(shape) - 1
      sizes = shape |> put_elem(axis, k) |> Tuple.to_list()
      zeros = Enum.map(sizes, fn _size -> 0 end)
      ones = Enum.map(sizes, fn _size -> 1 end)
      indices = array |> order(axis, :desc) |> Native.slice(zeros, sizes, ones, nil)
      {Native.take_along_axis(array, indices, axis, nil), indices}
    end

    defp order(array, axis, :asc), do: Native.argsort_axis(array, axis, nil)

    defp order(array, axis, :desc) do
      reversed = array |> Native.flip_axis(axis, nil) |> Native.argsort_axis(axis, nil) |> Native.flip_axis(axis, nil)
      Native.subtract(elem(array.shape, axis) - 1, cast(reversed, :s32), nil)
    end
  end
end
