defmodule Mlx.Differential.Convolutions do
  @moduledoc "Rows for convolutions."

  import Mlx.Differential.Draw
  import Mlx.Differential.Input, only: [random: 2]

  alias Mlx.Differential.{Python, Row}

  @doc "The rows."
  def rows do
    [
      Row.new(:conv, [share: 4], &conv/0),
      Row.new(:conv_transpose, [share: 4], &conv_transpose/0),
      Row.new(:convolve, &convolve/0)
    ]
  end

  # An input, a kernel, the sizes of the kernel and the groups.
  defp convolved(axes) do
    groups = one_of([1, 1, 2])
    {channels, outputs} = {groups * one_of(1..3), groups * one_of(1..3)}
    spatial = several(axes, fn -> one_of(Enum.at([5..12, 4..8, 3..5], axes - 1)) end)
    kernel = several(axes, fn -> one_of(1..3) end)
    type = one_of([:f32, :f32, :f32, :f16, :bf16])
    {x, w} = {[one_of(1..2) | spatial] ++ [channels], [outputs | kernel] ++ [div(channels, groups)]}

    {input, weight} =
      {random("x", shape: List.to_tuple(x), type: type, values: :finite),
       random("w", shape: List.to_tuple(w), type: type, values: :finite)}

    {input, weight, kernel, groups}
  end

  # A kernel of one element has none: Elixir drops it, and MLX then computes in another way.
  defp dilations(kernel), do: for(size <- kernel, do: if(size == 1, do: 1, else: one_of(1..2)))

  # What an option takes for all axes or for each.
  defp per_axis(axes, choices), do: if(chance?(2), do: one_of(choices), else: several(axes, fn -> one_of(choices) end))

  defp conv do
    axes = one_of(1..3)
    {x, w, kernel, groups} = convolved(axes)

    {strides, dilation, input_dilation, flip} =
      {per_axis(axes, 1..3), dilations(kernel), per_axis(axes, [1, 1, 2]), flag()}

    {padding, python_padding} = padding(axes)

    {[
       x,
       w,
       [
         strides: strides,
         padding: padding,
         kernel_dilation: dilation,
         input_dilation: input_dilation,
         feature_group_size: groups,
         flip: flip
       ]
     ],
     Python.call("mx.conv_general", [
       x,
       w,
       {:stride, strides},
       {:padding, python_padding},
       {:kernel_dilation, dilation},
       {:input_dilation, input_dilation},
       {:groups, groups},
       {:flip, flip}
     ])}
  end

  defp padding(axes) do
    case :rand.uniform(3) do
      1 ->
        {:valid, 0}

      2 ->
        per_axis(axes, 0..2) |> then(&{&1, &1})

      3 ->
        several(axes, fn -> {one_of(0..2), one_of(0..2)} end)
        |> then(&{&1, &1 |> Enum.unzip() |> then(fn {low, high} -> {low, high} end)})
    end
  end

  defp conv_transpose do
    axes = one_of(1..3)
    {x, w, kernel, groups} = convolved(axes)
    dilation = if axes == 1, do: hd(dilations(kernel)), else: dilations(kernel)
    option = fn choices -> if axes == 1, do: one_of(choices), else: per_axis(axes, choices) end
    # Padding beyond the kernel cuts the input, of which Elixir then drops the dilation where one element is left.
    padding = if 1 in kernel, do: 0, else: option.([0, 0, 1])
    {strides, output} = {option.(1..3), option.([0, 0, 1])}
    tupled = fn value -> if is_list(value), do: List.to_tuple(value), else: value end

    {[
       x,
       w,
       [
         strides: strides,
         padding: padding,
         kernel_dilation: dilation,
         output_padding: output,
         feature_group_size: groups
       ]
     ],
     Python.call("mx.conv_transpose#{axes}d", [
       x,
       w,
       {:stride, tupled.(strides)},
       {:padding, tupled.(padding)},
       {:dilation, tupled.(dilation)},
       {:output_padding, tupled.(output)},
       {:groups, groups}
     ])}
  end

  defp convolve do
    type = one_of([:f32, :f32, :f16, :bf16])
    [a, b] = for name <- ["a", "b"], do: random(name, shape: {one_of(1..20)}, type: type, values: :finite)
    mode = one_of([:full, :same, :valid])
    {[a, b, [mode: mode]], Python.call("mx.convolve", [a, b, {:mode, mode}])}
  end
end
