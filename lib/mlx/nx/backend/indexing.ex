if Code.ensure_loaded?(Nx) do
  defmodule Mlx.Nx.Backend.Indexing do
    @moduledoc false
    # Elements and blocks by arrays of indices.

    import Mlx.Nx.Backend.Conversion, only: [cast: 2, shaped: 2, type: 1]

    alias Mlx.{Array, Native}
    alias Mlx.Nx.Backend.Quantized
    alias Nx.Tensor

    @spec gather(Tensor.t(), Array.t(), Array.t(), keyword()) :: Array.t()
    def gather(out, array, indices, options) do
      axes = options[:axes]
      gathered = Native.gather(array, columns(indices, array, axes), axes, blocks(array, axes), nil)
      shaped(gathered, out.shape)
    end

    @spec take(Tensor.t(), Array.t() | Quantized.t(), Array.t(), non_neg_integer()) :: Array.t()
    def take(out, %Quantized{axis: axis} = quantized, indices, axis),
      do: take(out, Quantized.dequantize(quantized), indices, axis)

    # MLX unpacks no single row.
    def take(out, %Quantized{} = quantized, %Array{shape: {}} = index, axis),
      do: out |> take(quantized, shaped(index, {1}), axis) |> shaped(out.shape)

    # Packed rows are taken, and unpacked.
    def take(out, %Quantized{axis: packed} = quantized, indices, axis) do
      rank = tuple_size(indices.shape)
      {packed, axis} = if packed > axis, do: {packed + rank - 1, axis}, else: {packed, axis - 1}
      rows = Quantized.map(quantized, &take(out, &1, indices, axis))
      Quantized.dequantize(%{rows | axis: packed})
    end

    def take(_out, array, indices, axis), do: Native.take_axis(array, checked(indices, array, axis), axis, nil)

    @spec take_along_axis(Tensor.t(), Array.t(), Array.t(), non_neg_integer()) :: Array.t()
    def take_along_axis(_out, array, indices, axis) do
      Native.take_along_axis(array, checked(indices, array, axis), axis, nil)
    end

    for {name, native} <- [indexed_add: :scatter_add, indexed_put: :scatter] do
      @spec unquote(name)(Tensor.t(), Array.t(), Array.t(), Array.t(), keyword()) :: Array.t()
      def unquote(name)(out, array, indices, updates, options) do
        axes = options[:axes]
        {array, updates} = {cast(array, type(out)), cast(updates, type(out))}
        sizes = List.to_tuple([elem(updates.shape, 0) | blocks(array, axes)])
        Native.unquote(native)(array, columns(indices, array, axes), shaped(updates, sizes), axes, nil)
      end
    end

    @spec add_along_axis(Tensor.t(), Array.t(), Array.t(), Array.t(), non_neg_integer()) :: Array.t()
    def add_along_axis(out, array, indices, updates, axis) do
      {array, updates} = {cast(array, type(out)), cast(updates, type(out))}
      Native.scatter_add_axis(array, checked(indices, array, axis), shaped(updates, indices.shape), axis, nil)
    end

    # The indices into each of the axes, which are the last axis of an array.
    defp columns(%Array{shape: shape} = indices, array, axes) do
      last = tuple_size(shape) - 1
      starts = List.duplicate(0, last)
      stops = shape |> Tuple.delete_at(last) |> Tuple.to_list()
      strides = List.duplicate(1, last + 1)

      for {axis, column} <- Enum.with_index(axes) do
        indices
        |> Native.slice(starts ++ [column], stops ++ [column + 1], strides, nil)
        |> Native.reshape(Tuple.delete_at(shape, last), nil)
        |> checked(array, axis)
      end
    end

    # Of the indexed axes one element, of the others all.
    defp blocks(%Array{shape: shape}, axes) do
      for {size, axis} <- Enum.with_index(Tuple.to_list(shape)), do: if(axis in axes, do: 1, else: size)
    end

    # The native functions clamp indices, unless the application has them checked. In Nx none is negative. Those that a
    # program computes have no values while it is recorded.
    defp checked(%Array{} = indices, %Array{shape: shape}, axis) do
      if Application.get_env(:mlx, :bounds_check) == :raise and not Native.is_traced([indices]) do
        for native <- [&Native.min/3, &Native.max/3],
            do: indices |> native.(false, nil) |> Native.item() |> check(axis, shape)
      end

      indices
    end

    defp check(index, axis, shape) do
      if index not in 0..(elem(shape, axis) - 1)//1 do
        raise ArgumentError, "index #{index} is out of bounds for axis #{axis} in shape #{inspect(shape)}"
      end
    end
  end
end
