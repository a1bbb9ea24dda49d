if Code.ensure_loaded?(Nx) do
  defmodule Mlx.Backend.Convolution do
    @moduledoc false
    # Nx has the batch and the channels first, and the filters of a kernel first and its channels second. MLX has the batch
    # or the filters first and the channels last.

    import Mlx.Backend.Conversion, only: [cast: 2, shaped: 2, type: 1]
    import Mlx.Backend.Shape, only: [ordered: 2, padded: 3]

    alias Mlx.{Array, Native}
    alias Mlx.Backend.{Products, Windows}
    alias Nx.Tensor

    @spec conv(Tensor.t(), Array.t(), Array.t(), keyword()) :: Array.t()
    def conv(out, input, kernel, options) do
      type = type(out)
      input = input |> cast(type) |> ordered(channels_last(options[:input_permutation]))
      kernel = kernel |> cast(type) |> ordered(channels_last(options[:kernel_permutation]))
      {input, groups} = groups(input, options[:feature_group_size], options[:batch_group_size])

      input
      |> convolve(kernel, groups, options)
      |> ordered(for axis <- inverse(options[:output_permutation]), do: channels_last_position(axis, out.shape))
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
