if Code.ensure_loaded?(Nx) do
  defmodule Mlx.Backend.Windows do
    @moduledoc false
    # What is computed of every window of an array.

    import Mlx.Backend.Conversion, only: [cast: 2, type: 1]
    import Mlx.Backend.Shape, only: [padded: 3]

    alias Mlx.{Array, Native, Type}
    alias Mlx.Backend.Reduction
    alias Nx.Tensor

    @spec window_sum(Tensor.t(), Array.t(), tuple(), keyword()) :: Array.t()
    def window_sum(out, array, window, options) do
      array |> Reduction.accumulated(out) |> reduce(0, window, options, &Native.sum_axes/4)
    end

    @spec window_product(Tensor.t(), Array.t(), tuple(), keyword()) :: Array.t()
    def window_product(out, array, window, options) do
      array |> Reduction.accumulated(out) |> reduce(1, window, options, &Native.prod_axes/4)
    end

    @spec window_max(Tensor.t(), Array.t(), tuple(), keyword()) :: Array.t()
    def window_max(out, array, window, options) do
      array |> cast(type(out)) |> reduce(least(type(out)), window, options, &Native.max_axes/4)
    end

    @spec window_min(Tensor.t(), Array.t(), tuple(), keyword()) :: Array.t()
    def window_min(out, array, window, options) do
      array |> cast(type(out)) |> reduce(greatest(type(out)), window, options, &Native.min_axes/4)
    end

    defp reduce(array, outside, window, options, native) do
      array
      |> padded(outside, for({low, high} <- options[:padding], do: {low, high, 0}))
      |> view(window, options[:strides], options[:window_dilations])
      |> native.(inner_axes(window), false, nil)
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

      positions =
        Enum.zip_with([sizes, window, strides, dilations], fn [size, length, stride, dilation] ->
          div(size - (length - 1) * dilation - 1, stride) + 1
        end)

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
    for {name, native} <- [window_scatter_max: :argmax, window_scatter_min: :argmin] do
      @spec unquote(name)(Tensor.t(), Array.t(), Array.t(), Array.t(), tuple(), keyword()) :: Array.t()
      def unquote(name)(out, array, source, initial, window, options) do
        scatter(out, array, source, initial, window, options, unquote(native))
      end
    end

    defp scatter(out, array, source, initial, window, options, selection) do
      type = type(out)
      padding = for {low, high} <- options[:padding], do: {low, high, 0}
      array = padded(array, cast(initial, array.type), padding)
      positions = targets(array, window, options[:strides], selection)
      filled = initial |> cast(type) |> Native.broadcast_to({Tuple.product(array.shape)}, nil)
      updates = source |> cast(type) |> Native.reshape(positions.shape, nil)

      filled
      |> Native.scatter_add_axis(positions, updates, 0, nil)
      |> Native.reshape(array.shape, nil)
      |> padded(cast(initial, type), for({low, high, 0} <- padding, do: {-low, -high, 0}))
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
