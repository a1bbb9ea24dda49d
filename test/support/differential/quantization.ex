defmodule Mlx.Differential.Quantization do
  @moduledoc "Rows for quantized matrices, in every mode, and 8-bit floats."

  import Mlx.Differential.Draw
  import Mlx.Differential.Input, only: [random: 2]

  alias Mlx.Differential.{Python, Row}

  @doc "The rows."
  def rows do
    [
      Row.new(:quantize, [share: 2, refusals: "MLX cannot pack an odd number of nvfp4 groups on a CPU"], &quantize/0),
      Row.new(:dequantize, [share: 2], &dequantize/0),
      Row.new(:quantized_matmul, [share: 2], &quantized_matmul/0),
      Row.new(:gather_qmm, [share: 2], &gather_qmm/0),
      Row.new(:to_fp8, &to_fp8/0),
      Row.new(:from_fp8, &from_fp8/0)
    ]
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
end
