if Code.ensure_loaded?(Nx) do
  defmodule Mlx.Nx.Backend.Convolution do
    @moduledoc false
    # Nx has the batch and the channels first, and the filters of a kernel first and its channels second. MLX has the batch
    # or the filters first and the channels last.

    import Mlx.Nx.Backend.Conversion, only: [cast: 2, shaped: 2, type: 1]
    import Mlx.Nx.Backend.Shape, only: [ordered: 2, padded: 3]

    alias Mlx.{Array, Native}
    alias Mlx.Nx.Backend.{Products, Windows}
    alias Nx.Tensor

    @spec conv(Tensor.t(), Array.t(), Array.t(), keyword()) :: Array.t()
    def conv(out, input, kernel, options) do
      type = type(out)
      input = cast(input, type)
      kernel = cast(kernel, type)
      [_batch, _filters | axes] = options[:output_permutation]
      positions = for axis <- axes, do: elem(out.shape, axis)

      if type == :f32 and larger?(kernel, positions, options),
        do: input |> convolve_with_large(kernel, positions, options) |> in_order_of(out, options),
        else: input |> convolve_channels_last(kernel, options) |> in_order_of(out, options)
    end

    defp in_order_of(array, out, options) do
      ordered(array, for(axis <- inverse(options[:output_permutation]), do: channels_last_position(axis, out.shape)))
    end

    defp convolve_channels_last(input, kernel, options) do
      input = ordered(input, channels_last(options[:input_permutation]))
      kernel = ordered(kernel, channels_last(options[:kernel_permutation]))
      {input, groups} = groups(input, options[:feature_group_size], options[:batch_group_size])
      convolve(input, kernel, groups, options)
    end

    defp channels_last([first, channels | spatial]), do: [first] ++ spatial ++ [channels]

    # Where an axis of Nx's order is in MLX's.
    defp channels_last_position(0, _shape), do: 0
    defp channels_last_position(1, shape), do: tuple_size(shape) - 1
    defp channels_last_position(axis, _shape), do: axis - 1

    defp inverse(permutation), do: permutation |> Enum.with_index() |> Enum.sort() |> Enum.map(&elem(&1, 1))

    # Groups of the batch become groups of channels.
    defp groups(input, feature_groups, 1), do: {input, feature_groups}

    defp groups(%Array{shape: shape} = input, 1, batch_groups) do
      rank = tuple_size(shape)
      [batch | rest] = Tuple.to_list(shape)
      {spatial, [channels]} = Enum.split(rest, -1)
      batch = div(batch, batch_groups)

      input =
        input
        |> Native.reshape(List.to_tuple([batch_groups, batch] ++ spatial ++ [channels]), nil)
        |> Native.transpose_axes(Enum.to_list(1..(rank - 1)//1) ++ [0, rank], nil)
        |> Native.reshape(List.to_tuple([batch] ++ spatial ++ [batch_groups * channels]), nil)

      {input, batch_groups}
    end

    defp convolve(%Array{shape: shape, type: type} = input, kernel, groups, options) do
      if type in [:f32, :f16, :bf16] and tuple_size(shape) in 3..5 and (groups == 1 or tuple_size(shape) < 5) do
        convolve_natively(input, kernel, groups, options)
      else
        convolve_windows(input, kernel, groups, options)
      end
    end

    defp convolve_natively(input, kernel, groups, options) do
      {input, padding, input_dilation} = outside(input, options[:padding], options[:input_dilation])
      {low, high} = Enum.unzip(padding)
      strides = options[:strides]
      dilation = options[:kernel_dilation]
      Native.conv_general(input, kernel, strides, low, high, dilation, input_dilation, groups, false, nil)
    end

    # MLX takes nothing away.
    defp outside(input, padding, dilation) do
      if Enum.all?(padding, fn {low, high} -> low >= 0 and high >= 0 end) do
        {input, padding, dilation}
      else
        {pad(input, padding, dilation), Enum.map(padding, fn _ -> {0, 0} end), Enum.map(dilation, fn _ -> 1 end)}
      end
    end

    defp pad(input, padding, dilation) do
      spatial = Enum.zip_with(padding, dilation, fn {low, high}, dilation -> {low, high, dilation - 1} end)
      padded(input, 0, [{0, 0, 0}] ++ spatial ++ [{0, 0, 0}])
    end

    # More positions in the kernel than in the result, as in the derivative for a kernel.
    defp larger?(%Array{shape: shape}, positions, options) do
      [_filters, _channels | axes] = options[:kernel_permutation]
      sizes = for axis <- axes, do: elem(shape, axis)

      options[:feature_group_size] == 1 and options[:batch_group_size] == 1 and
        Enum.product(sizes) > Enum.product(positions)
    end

    # Windows of the input as large as the result, a row for each element that the kernel has for one filter, are multiplied
    # with those elements. In a derivative the batch is in the place of the channels: what is contracted comes first here,
    # as it does in memory, and MLX, which has it last, would copy the input and the kernel.
    defp convolve_with_large(input, kernel, positions, options) do
      input = ordered(input, channels_first(options[:input_permutation]))
      kernel = ordered(kernel, channels_first(options[:kernel_permutation]))
      [channels | sizes] = Tuple.to_list(kernel.shape)
      {sizes, [filters]} = Enum.split(sizes, -1)
      spatial = length(positions)
      batch = elem(input.shape, spatial + 1)
      length = channels * Enum.product(sizes)
      strides = [1] ++ options[:kernel_dilation] ++ [1]
      dilations = [1] ++ options[:strides] ++ [1]

      # channels, sizes, batch, 1, positions, 1
      rows =
        input
        |> padded(0, [{0, 0, 0}] ++ covered(input, sizes, positions, options) ++ [{0, 0, 0}])
        |> Windows.view(List.to_tuple([1] ++ positions ++ [1]), strides, dilations)
        |> Native.transpose_axes(
          Enum.to_list(0..spatial) ++
            Enum.to_list((spatial + 3)..(2 * spatial + 2)//1) ++ [spatial + 1, spatial + 2, 2 * spatial + 3],
          nil
        )
        |> shaped({length, Enum.product(positions) * batch})

      rows
      |> Native.transpose_axes([1, 0], nil)
      |> Products.multiply(shaped(kernel, {length, filters}))
      |> shaped(List.to_tuple(positions ++ [batch, filters]))
      |> Native.transpose_axes([spatial] ++ Enum.to_list(0..(spatial - 1)//1) ++ [spatial + 1], nil)
    end

    defp channels_first([first, channels | spatial]), do: [channels] ++ spatial ++ [first]

    # The padding to as much of each axis as the kernel gets to.
    defp covered(%Array{shape: shape}, sizes, positions, options) do
      lengths = shape |> Tuple.to_list() |> Enum.slice(1, length(sizes))
      steps = Enum.zip(options[:strides], options[:kernel_dilation])

      [lengths, sizes, positions, steps, options[:padding], options[:input_dilation]]
      |> Enum.zip_with(fn [length, size, count, {stride, dilation}, {low, _high}, input_dilation] ->
        covered = (count - 1) * stride + (size - 1) * dilation + 1
        {low, covered - low - (length - 1) * input_dilation - 1, input_dilation - 1}
      end)
    end

    # What MLX convolves not: other types, more axes, groups in three dimensions. The windows of the input, a row each, are
    # multiplied with the filters, a column each.
    defp convolve_windows(input, kernel, groups, options) do
      [filters | rest] = Tuple.to_list(kernel.shape)
      {sizes, [channels]} = Enum.split(rest, -1)
      spatial = length(sizes)
      window = List.to_tuple([1] ++ sizes ++ [1])
      strides = [1] ++ options[:strides] ++ [1]
      dilations = [1] ++ options[:kernel_dilation] ++ [1]

      # batch, positions, groups * channels, 1, sizes, 1
      windows = input |> pad(options[:padding], options[:input_dilation]) |> Windows.view(window, strides, dilations)
      [batch | positions] = windows.shape |> Tuple.to_list() |> Enum.take(spatial + 1)
      length = Enum.product(sizes) * channels
      count = batch * Enum.product(positions)

      rows =
        windows
        |> Native.reshape(List.to_tuple([count, groups, channels] ++ sizes), nil)
        |> Native.transpose_axes([1, 0] ++ Enum.to_list(3..(spatial + 2)//1) ++ [2], nil)
        |> shaped({groups, count, length})

      columns =
        kernel
        |> shaped({groups, div(filters, groups), length})
        |> Native.transpose_axes([0, 2, 1], nil)

      # groups, count, filters of the group
      rows
      |> Products.multiply(columns)
      |> Native.transpose_axes([1, 0, 2], nil)
      |> shaped(List.to_tuple([batch] ++ positions ++ [filters]))
    end
  end
end
