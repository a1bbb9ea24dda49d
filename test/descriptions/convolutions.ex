defmodule Mlx.Descriptions.Convolutions do
  @moduledoc "Convolutions."

  use Mlx.Description

  import Mlx.Differential.Input, only: [random: 2]

  alias Mlx.Conformance.Convolution

  @inputs [array({1, 9, 2}), array({1, 5, 5, 2}), array({1, 4, 5, 5, 2})]
  @kernels [array({4, 3, 2}), array({4, 3, 3, 2}), array({3, 2, 3, 3, 2})]

  @doc "The descriptions."
  def operations do
    borders = "Python: it has another shape for borders that differ"
    sums = "On a CPU, convolutions of this library add up in another order."

    [
      operation(:conv,
        python: [window("conv1d conv2d conv3d"), general()],
        examples: conv_examples(),
        other_gradient: borders,
        share: 4,
        of_largest: 1.0e-5,
        reason: sums,
        draw: &conv/0
      ),
      operation(:conv_transpose,
        python: transposed(),
        examples: conv_transpose_examples(),
        other_gradient: borders,
        share: 4,
        of_largest: 1.0e-5,
        reason: sums,
        draw: &conv_transpose/0
      ),
      operation(:convolve,
        python: python("convolve", a: :array, v: :array, mode: option(:word, :mode)),
        other_gradient: "Python sums in another order",
        of_largest: 1.0e-5,
        reason: sums,
        draw: &convolve/0
      )
    ]
  end

  defp window(names),
    do: python(names, arrays() ++ along_kernel() ++ groups(), note: note(":input_dilation", ", :flip"))

  defp transposed do
    python(
      "conv_transpose1d conv_transpose2d conv_transpose3d",
      arrays() ++ along_kernel() ++ [output_padding: option(:axes, :output_padding)] ++ groups(),
      note: note(":output_padding", "")
    )
  end

  defp general do
    dilations = [kernel_dilation: option(:axes, :kernel_dilation), input_dilation: option(:axes, :input_dilation)]

    python(
      "conv_general",
      arrays() ++
        [stride: option(:axes, :strides), padding: default(:any, 0)] ++
        dilations ++ groups() ++ [flip: option(:boolean, :flip)],
      adapter: &Convolution.general/3,
      note: note(":input_dilation", ", :flip")
    )
  end

  defp arrays, do: [input: :array, weight: :array]
  defp groups, do: [groups: option(:integer, :feature_group_size)]

  defp along_kernel do
    [stride: option(:axes, :strides), padding: option(:axes, :padding), dilation: option(:axes, :kernel_dilation)]
  end

  defp note(option, last) do
    "the rank says over how many axes; options :strides, :padding, :kernel_dilation, #{option}, :feature_group_size#{last}"
  end

  # The input and the kernel for so many axes.
  defp arrays(axes), do: [Enum.at(@inputs, axes - 1), Enum.at(@kernels, axes - 1)]

  defp conv_examples do
    [
      conv1d: [arrays(1) ++ [1, 1, 1, 1, nil]],
      conv2d: [arrays(2) ++ [1, 1, 1, 1, 1, 1, 1, nil]],
      conv3d: [arrays(3) ++ [1, 1, 1, 0, 1, 1, 1, 1, 1, 1, nil]],
      conv_general: [
        arrays(2) ++ [[1, 1], [0, 1], [1, 0], [1, 1], [1, 1], 1, false, nil],
        arrays(2) ++ [[2, 1], [2, 1], [1, 2], [1, 2], [2, 1], 1, true, nil],
        [array({1, 9, 4}), array({4, 3, 2}), [1], [1], [1], [1], [1], 2, false, nil]
      ]
    ]
  end

  defp conv_transpose_examples do
    [
      conv_transpose1d: [arrays(1) ++ [2, 1, 1, 1, 1, nil]],
      conv_transpose2d: [arrays(2) ++ [2, 1, 1, 1, 1, 1, 0, 0, 1, nil]],
      conv_transpose3d: [arrays(3) ++ [1, 1, 1, 0, 1, 1, 1, 1, 1, 0, 0, 0, 1, nil]]
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
