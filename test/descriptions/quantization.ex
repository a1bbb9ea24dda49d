defmodule Mlx.Descriptions.Quantization do
  @moduledoc "Quantized matrices, in every mode, and 8-bit floats."

  use Mlx.Description

  import Mlx.Differential.Input, only: [random: 2]

  @weights [array({4, 8}, :u32), array({4, 2})]
  @experts [array({2, 3, 64}), array({2, 4, 8}, :u32), array({2, 4, 2}), array({2, 4, 2})]

  @doc "The descriptions."
  def operations, do: packing() ++ products() ++ of_quantized_inputs() ++ floats()

  defp packing do
    global_scale = [global_scale: option(:array, :global_scale)]

    [
      operation(:quantize,
        python:
          python("quantize", [w: :array] ++ format_parameters() ++ global_scale,
            note: "a tuple of three arrays, of two for modes without biases"
          ),
        examples: [
          quantize: [[array({4, 64}), 32, 4, "affine", nil, nil], [array({4, 64}), nil, nil, "mxfp4", nil, nil]]
        ],
        refusals: "MLX cannot pack an odd number of nvfp4 groups on a CPU",
        without_options: &plain_quantize/0,
        share: 2,
        draw: &quantize/0
      ),
      operation(:dequantize,
        python:
          python(
            "dequantize",
            matrix() ++ format_parameters() ++ global_scale ++ [dtype: option(:type, :type)],
            note: "biases are nil for modes without them"
          ),
        examples: [
          dequantize: [
            @weights ++ [array({4, 2}), 32, 4, "affine", nil, nil, nil],
            [array({4, 8}, :u32), array({4, 2}, :u8), nil, 32, 4, "mxfp4", nil, nil, nil]
          ]
        ],
        share: 2,
        draw: &dequantize/0
      )
    ]
  end

  defp products do
    transpose = [transpose: option(:boolean, :transpose)]
    global_scale = [global_scale: option(:array, :global_scale)]

    [
      operation(:quantized_matmul,
        python:
          python("quantized_matmul", [x: :array] ++ matrix() ++ transpose ++ format_parameters(),
            note: "biases are nil for modes without them"
          ),
        examples: [
          quantized_matmul: [
            [array({3, 64})] ++ @weights ++ [array({4, 2}), true, 32, 4, "affine", nil],
            [array({3, 64}), array({64, 8}, :u32), array({64, 2}), array({64, 2}), false, 32, 4, "affine", nil],
            [array({3, 64}), array({4, 8}, :u32), array({4, 2}, :u8), nil, true, 32, 4, "mxfp4", nil]
          ]
        ],
        share: 2,
        draw: &quantized_matmul/0
      ),
      operation(:gather_qmm,
        python:
          python(
            "gather_qmm",
            [x: :array] ++ matrix() ++ indices() ++ transpose ++ format_parameters() ++ global_scale ++ sorted(),
            note: "biases are nil for modes without them"
          ),
        examples: [
          gather_qmm: [
            @experts ++
              [array({2}, :u32, :zeros), array({2}, :u32, :ones), true, 32, 4, "affine", nil, false, nil],
            @experts ++ [nil, array({2}, :u32, :zeros), true, 32, 4, "affine", nil, true, nil]
          ]
        ],
        # mlx-c 0.7 lacks the scale of all weights.
        kinds: [
          gather_qmm:
            ~w(array array array optional_array optional_indices optional_indices flag optional_size)a ++
              ~w(optional_size text optional_array flag stream)a
        ],
        share: 2,
        draw: &gather_qmm/0
      )
    ]
  end

  defp of_quantized_inputs do
    scales = [x: :array, w: :array, scales: option(:array, :scales)]
    global_scales = [global_scale_x: option(:array, :global_scale_x), global_scale_w: option(:array, :global_scale_w)]
    note = "the scales of the weights are the option :scales"

    [
      operation(:qqmm,
        python: python("qqmm", scales ++ format_parameters() ++ global_scales, note: note),
        examples: [
          qqmm: [[array({3, 64}), array({4, 8}, :u32), array({4, 4}, :u8), 16, 4, "nvfp4", nil, nil, nil]]
        ],
        not_drawn: "for GPUs only"
      ),
      operation(:gather_qqmm,
        python:
          python("gather_qqmm", scales ++ indices() ++ format_parameters() ++ global_scales ++ sorted(), note: note),
        examples: [
          gather_qqmm: [
            [array({2, 3, 64}), array({2, 4, 8}, :u32), array({2, 4, 4}, :u8), nil, array({2}, :u32, :zeros)] ++
              [16, 4, "nvfp4", nil, nil, false, nil]
          ]
        ],
        not_drawn: "for GPUs only"
      )
    ]
  end

  defp floats do
    [
      operation(:to_fp8, python: python("to_fp8", x: :operand), no_gradient: "gives no fractions", draw: &to_fp8/0),
      operation(:from_fp8,
        python: python("from_fp8", x: :array, dtype: option(:type, :type)),
        examples: [from_fp8: [[array({4, 4}, :u8), :f32, nil]]],
        no_gradient: "takes no array with fractions",
        draw: &from_fp8/0
      )
    ]
  end

  defp matrix, do: [w: :array, scales: :array, biases: default(:array, nil)]
  defp indices, do: [lhs_indices: option(:array, :left_indices), rhs_indices: option(:array, :right_indices)]
  defp sorted, do: [sorted_indices: option(:boolean, :sorted)]

  defp format_parameters do
    [group_size: option(:integer, :group_size), bits: option(:integer, :bits), mode: option(:word, :mode)]
  end

  # Mode, group size and bits.
  defp format do
    case one_of([:affine, :affine, :affine, :mxfp4, :mxfp8, :nvfp4]) do
      :affine -> {:affine, one_of([32, 64, 128]), one_of([2, 3, 4, 5, 6, 8])}
      :mxfp4 -> {:mxfp4, 32, 4}
      :mxfp8 -> {:mxfp8, 32, 8}
      :nvfp4 -> {:nvfp4, 16, 4}
    end
  end

  # The options, which the other modes need not be told.
  defp options({:affine, group_size, bits}), do: [mode: :affine, group_size: group_size, bits: bits]
  defp options({mode, group_size, bits}), do: one_of([[mode: mode], [mode: mode, group_size: group_size, bits: bits]])

  defp quantize do
    {_mode, group_size, _bits} = format = format()
    rows = one_of([{2}, {3}, {2, 3}])
    shape = Tuple.insert_at(rows, tuple_size(rows), group_size * one_of(1..3))
    w = random("w", shape: shape, type: one_of([:f32, :f16, :bf16]), values: :finite)
    options = options(format)
    {[w, options], Python.call("mx.quantize", [w | options])}
  end

  # A random quantized matrix of so many rows and groups, with arrays in front.
  defp quantized({mode, group_size, bits}, batch, rows, groups, type) do
    shape = fn last -> List.to_tuple(batch ++ [rows, last]) end
    weights = random("w", shape: shape.(div(groups * group_size * bits, 32)), type: :u32, values: 0..0xFFFFFFFF)

    if mode == :affine do
      parts = for name <- ~w(s b), do: random(name, shape: shape.(groups), type: type, values: :finite)
      [weights | parts]
    else
      # Scales near 1, in E8M0 or E4M3.
      range = if mode == :nvfp4, do: 0x30..0x48, else: 120..130
      [weights, random("s", shape: shape.(groups), type: :u8, values: range), nil]
    end
  end

  defp dequantize do
    format = format()
    parts = quantized(format, one_of([[], [2]]), one_of(1..4), one_of(1..3), one_of([:f32, :f16, :bf16]))
    options = options(format)
    {parts ++ [options], Python.call("mx.dequantize", parts ++ options)}
  end

  defp quantized_matmul do
    {_mode, group_size, _bits} = format = format()
    {rows, groups, transpose, type} = {8 * one_of(1..4), one_of(1..3), flag(), one_of([:f32, :f32, :f16, :bf16])}
    # Not transposed, the result has the size of the last axis.
    parts = quantized(format, [], rows, groups, type)

    x =
      random("x",
        shape: one_of([{1}, {3}, {2, 3}]) |> wider(if(transpose, do: groups * group_size, else: rows)),
        type: type,
        values: :finite
      )

    options = [transpose: transpose] ++ options(format)
    {[x | parts] ++ [options], Python.call("mx.quantized_matmul", [x | parts] ++ options)}
  end

  defp wider(shape, last), do: Tuple.insert_at(shape, tuple_size(shape), last)

  defp gather_qmm do
    {_mode, group_size, _bits} = format = format()
    {rows, groups, type, count} = {8 * one_of(1..3), one_of(1..2), one_of([:f32, :f32, :f16, :bf16]), one_of(1..4)}
    parts = quantized(format, [4], rows, groups, type)
    x = random("x", shape: {3, one_of(1..3), groups * group_size}, type: type, values: :finite)
    left = random("l", shape: {count}, type: :u32, values: 0..2)
    right = random("r", shape: {count}, type: :u32, values: 0..3)
    options = options(format)

    {[x | parts] ++ [[left_indices: left, right_indices: right] ++ options],
     Python.call("mx.gather_qmm", [x | parts] ++ [lhs_indices: left, rhs_indices: right] ++ options)}
  end

  defp to_fp8 do
    x = random("x", type: [:f32, :f16, :bf16], values: one_of([:any, :finite]))
    {[x], Python.call("mx.to_fp8", [x])}
  end

  defp from_fp8 do
    {x, type} = {random("x", type: :u8), one_of([:f32, :f16, :bf16])}
    {[x, [type: type]], Python.call("mx.from_fp8", [x, {:dtype, type}])}
  end

  defp plain_quantize do
    w = random("w", shape: {3, 128}, type: [:f32, :f16, :bf16], values: :finite)
    {[w], Python.call("mx.quantize", [w])}
  end
end
