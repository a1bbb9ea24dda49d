if Code.ensure_loaded?(Nx) do
  defmodule Mlx.Nx.Backend.Windows do
    @moduledoc false
    # What is computed of every window of an array.

    import Mlx.Nx.Backend.Conversion, only: [cast: 2, type: 1]
    import Mlx.Nx.Backend.Shape, only: [padded: 3]

    alias Mlx.{Array, Native, Type}
    alias Mlx.Nx.Backend.Reduction
    alias Nx.Tensor

    # The most elements of a small window.
    @small 16

    @spec window_sum(Tensor.t(), Array.t(), tuple(), keyword()) :: Array.t()
    def window_sum(out, array, window, options) do
      array |> Reduction.accumulated(out) |> reduce(0, window, options, &Native.add/3, &Native.sum_axes/4)
    end

    @spec window_product(Tensor.t(), Array.t(), tuple(), keyword()) :: Array.t()
    def window_product(out, array, window, options) do
      array |> Reduction.accumulated(out) |> reduce(1, window, options, &Native.multiply/3, &Native.prod_axes/4)
    end

    @spec window_max(Tensor.t(), Array.t(), tuple(), keyword()) :: Array.t()
    def window_max(out, array, window, options) do
      array |> cast(type(out)) |> reduce(least(type(out)), window, options, &Native.maximum/3, &Native.max_axes/4)
    end

    @spec window_min(Tensor.t(), Array.t(), tuple(), keyword()) :: Array.t()
    def window_min(out, array, window, options) do
      array |> cast(type(out)) |> reduce(greatest(type(out)), window, options, &Native.minimum/3, &Native.min_axes/4)
    end

    # The elements of small windows are combined one after the other, which takes a fraction of the time of a reduction over
    # axes that are not adjacent.
    defp reduce(array, outside, window, options, combine, native) do
      array = padded(array, outside, for({low, high} <- options[:padding], do: {low, high, 0}))

      if small?(window) do
        array
        |> elements(window, options[:strides], options[:window_dilations])
        |> Enum.reduce(&combine.(&2, &1, nil))
      else
        array
        |> view(window, options[:strides], options[:window_dilations])
        |> native.(inner_axes(window), false, nil)
      end
    end

    defp small?(window), do: Tuple.product(window) <= @small

    # The first element of every window, the second one of every window, and so on.
    defp elements(%Array{shape: shape} = array, window, strides, dilations) do
      window = Tuple.to_list(window)
      positions = positions(Tuple.to_list(shape), window, strides, dilations)

      for offsets <- offsets(window) do
        starts = Enum.zip_with(offsets, dilations, &*/2)

        stops =
          Enum.zip_with([starts, positions, strides], fn [start, count, stride] -> start + (count - 1) * stride + 1 end)

        Native.slice(array, starts, stops, strides, nil)
      end
    end

    defp offsets([]), do: [[]]
    defp offsets([length | lengths]), do: for(offset <- 0..(length - 1), rest <- offsets(lengths), do: [offset | rest])

    # How many windows there are along each axis.
    defp positions(sizes, window, strides, dilations) do
      Enum.zip_with([sizes, window, strides, dilations], fn [size, length, stride, dilation] ->
        div(size - (length - 1) * dilation - 1, stride) + 1
      end)
    end

    defp least(type), do: if(Type.fractional?(type), do: :neg_infinity, else: Type.min(type))
    defp greatest(type), do: if(Type.fractional?(type), do: :infinity, else: Type.max(type))

    @doc """
    The windows of an array: an axis for the positions of the window along each axis, and then an axis for the elements in the
    window along each axis. No element is copied.
    """
    @spec view(Array.t(), tuple(), [pos_integer()], [pos_integer()]) :: Array.t()
    def view(%Array{shape: shape} = array, window, strides, dilations) do
      sizes = Tuple.to_list(shape)
      window = Tuple.to_list(window)
      steps = row_major(sizes)
      positions = positions(sizes, window, strides, dilations)
      between = Enum.zip_with(steps, strides, &*/2)
      inside = Enum.zip_with(steps, dilations, &*/2)
      array = Native.contiguous(array, false, nil)
      Native.as_strided(array, List.to_tuple(positions ++ window), between ++ inside, 0, nil)
    end

    defp row_major(sizes) do
      sizes |> Enum.reverse() |> Enum.scan(1, &*/2) |> Enum.drop(-1) |> then(&[1 | &1]) |> Enum.reverse()
    end

    defp inner_axes(window) do
      rank = tuple_size(window)
      Enum.to_list(rank..(2 * rank - 1)//1)
    end

    # Each element of `source` is added to the element of `array` that is the greatest or least in its window: the last one
    # of several. Everything else is `initial`.
    for {name, selection, combine} <- [
          {:window_scatter_max, :argmax, :maximum},
          {:window_scatter_min, :argmin, :minimum}
        ] do
      @spec unquote(name)(Tensor.t(), Array.t(), Array.t(), Array.t(), tuple(), keyword()) :: Array.t()
      def unquote(name)(out, array, source, initial, window, options) do
        type = type(out)
        padding = for {low, high} <- options[:padding], do: {low, high, 0}
        array = padded(array, cast(initial, array.type), padding)
        source = cast(source, type)
        initial = cast(initial, type)

        scattered =
          if small?(window) and tiled?(array, window, options[:strides]),
            do: scatter_tiles(array, source, initial, window, &(Native.unquote(combine) / 3)),
            else: scatter(array, source, initial, window, options[:strides], unquote(selection))

        padded(scattered, initial, for({low, high, 0} <- padding, do: {-low, -high, 0}))
      end
    end

    defp scatter(array, source, initial, window, strides, selection) do
      positions = targets(array, window, strides, selection)

      initial
      |> Native.broadcast_to({Tuple.product(array.shape)}, nil)
      |> Native.scatter_add_axis(positions, Native.reshape(source, positions.shape, nil), 0, nil)
      |> Native.reshape(array.shape, nil)
    end

    # Windows cover the array, and do not overlap.
    defp tiled?(%Array{shape: shape}, window, strides) do
      sizes = Tuple.to_list(shape)
      window = Tuple.to_list(window)
      strides == window and Enum.all?(Enum.zip_with(sizes, window, &(rem(&1, &2) == 0)))
    end

    # Each element is compared with the number of the one that is chosen in its window.
    defp scatter_tiles(%Array{shape: shape} = array, source, initial, window, combine) do
      lengths = Tuple.to_list(window)
      ones = List.duplicate(1, length(lengths))
      counts = Enum.zip_with(Tuple.to_list(shape), lengths, &div/2)
      chosen = array |> elements(window, lengths, ones) |> last_extreme(combine)
      numbers = Native.arange(0, Tuple.product(window), 1, chosen.type, nil)
      across = tiles(lengths, counts, ones)

      numbers
      |> Native.reshape(tiles(lengths, ones, lengths), nil)
      |> Native.equal(Native.reshape(chosen, across, nil), nil)
      |> Native.where(source |> Native.add(initial, nil) |> Native.reshape(across, nil), initial, nil)
      |> Native.reshape(shape, nil)
    end

    # For each axis that windows extend along, the first number and the second one; for others, the first.
    defp tiles(lengths, firsts, seconds) do
      [lengths, firsts, seconds]
      |> Enum.zip_with(fn
        [1, first, _second] -> [first]
        [_length, first, second] -> [first, second]
      end)
      |> Enum.concat()
      |> List.to_tuple()
    end

    # The number of the last of several arrays that has their extreme, at each place. NaN is the extreme.
    defp last_extreme(arrays, combine) do
      extreme = Enum.reduce(arrays, &combine.(&2, &1, nil))

      arrays
      |> Enum.with_index()
      |> Enum.reduce(Native.scalar(0, :u8), fn {array, number}, last ->
        array |> extreme?(extreme) |> Native.where(Native.scalar(number, :u8), last, nil)
      end)
    end

    defp extreme?(%Array{type: type} = array, extreme) do
      equal = Native.equal(array, extreme, nil)
      if Type.fractional?(type), do: Native.logical_or(equal, Native.isnan(array, nil), nil), else: equal
    end

    # The position, in the flat array, of the element that is chosen in each window.
    defp targets(%Array{shape: shape} = array, window, strides, selection) do
      dilations = List.duplicate(1, tuple_size(window))
      size = Tuple.product(shape)
      numbers = 0 |> Native.arange(size, 1, :s32, nil) |> Native.reshape(shape, nil)
      [values, numbers] = for whole <- [array, numbers], do: whole |> view(window, strides, dilations) |> rows(window)
      template = %Tensor{type: {:s, 32}, shape: {elem(values.shape, 0), 1}, names: [nil, nil]}
      chosen = apply(Reduction, selection, [template, values, [axis: 1, tie_break: :high]])
      numbers |> Native.take_along_axis(chosen, 1, nil) |> Native.reshape({elem(values.shape, 0)}, nil)
    end

    defp rows(%Array{shape: shape} = windows, window) do
      length = Tuple.product(window)
      Native.reshape(windows, {div(Tuple.product(shape), length), length}, nil)
    end
  end
end
