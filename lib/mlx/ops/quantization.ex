defmodule Mlx.Ops.Quantization do
  @moduledoc false
  # Quantized matrices: packed integers with a scale for each group of elements.

  use Mlx.Ops.Topic, title: "Quantized matrices"

  alias Mlx.{Array, Native, Type}
  alias Mlx.Arguments.{Given, Operand, Options}

  @modes [:affine, :mxfp4, :mxfp8, :nvfp4]

  @doc """
  Quantizes a matrix (or a stack of them) along its last axis.

  Returns `{weights, scales, biases}` for the mode `:affine`, where an element is `scale * weight + bias`, and
  `{weights, scales}` for the others. `weights` is `:u32`, with several elements packed in one.

  Options:

    * `:mode` - the format:

      | mode | elements | groups of | bits | scales |
      | --- | --- | --- | --- | --- |
      | `:affine` (default) | integers | 32, 64 (default), 128 | 2, 3, 4 (default), 5, 6, 8 | type of the matrix |
      | `:mxfp4` | E2M1 floats | 32 | 4 | E8M0 in `:u8` |
      | `:mxfp8` | E4M3 floats | 32 | 8 | E8M0 in `:u8` |
      | `:nvfp4` | E2M1 floats | 16 | 4 | E4M3 in `:u8` |

    * `:group_size`, `:bits` - see above; the size of the last axis must be a multiple of the group size
    * `:global_scale` - a scale for the whole matrix, an array, for `:nvfp4`

  Examples:

      iex> w = Mlx.reshape(Mlx.arange(64, type: :f32), {1, 64})
      iex> {weights, scales, biases} = Mlx.quantize(w, bits: 8)
      iex> {weights.shape, scales.shape, biases.shape}
      {{1, 16}, {1, 1}, {1, 1}}

  Python: `mlx.core.quantize`.
  """
  @spec quantize(Array.t(), keyword()) :: {Array.t(), Array.t(), Array.t()} | {Array.t(), Array.t()}
  def quantize(array, options \\ []) do
    [group_size, bits, mode, global_scale, stream] = values(options, :quantize, global_scale: nil)
    quantize = &List.to_tuple(Native.quantize(&1, group_size, bits, mode, global_scale, stream))
    if mode == :nvfp4 and odd_groups?(array), do: with_another_row(array, quantize, stream), else: quantize.(array)
  end

  # On a CPU, MLX packs the groups of this mode two by two.
  defp odd_groups?(%Array{shape: shape}), do: tuple_size(shape) >= 2 and rem(Tuple.product(shape), 32) == 16
  defp odd_groups?(_other), do: false

  defp with_another_row(%Array{shape: shape} = array, quantize, stream) do
    columns = elem(shape, tuple_size(shape) - 1)
    rows = div(Tuple.product(shape), columns)
    zeros = Native.zeros({1, columns}, array.type, stream)
    padded = Native.concatenate_axis([Native.reshape(array, {rows, columns}, stream), zeros], 0, stream)

    {weights, scales} = quantize.(padded)
    {without_row(weights, shape, stream), without_row(scales, shape, stream)}
  end

  defp without_row(%Array{shape: {rows, columns}} = padded, shape, stream) do
    padded
    |> Native.slice([0, 0], [rows - 1, columns], [1, 1], stream)
    |> Native.reshape(put_elem(shape, tuple_size(shape) - 1, columns), stream)
  end

  @doc """
  The matrix that `quantize/2` packed.

  `biases` is `nil` for the modes that have none. The options `:mode`, `:group_size`, `:bits` and `:global_scale` are
  those of `quantize/2`; `:type` is the type of the result, by default that of the scales or `:bf16`.

      iex> w = Mlx.reshape(Mlx.arange(64, type: :f32), {1, 64})
      iex> {weights, scales, biases} = Mlx.quantize(w, bits: 8)
      iex> error = Mlx.subtract(Mlx.dequantize(weights, scales, biases, bits: 8), w) |> Mlx.abs() |> Mlx.reduce_max()
      iex> Mlx.to_number(error) < 0.2
      true

  Python: `mlx.core.dequantize`.
  """
  @spec dequantize(Array.t(), Array.t(), Array.t() | nil, keyword()) :: Array.t()
  def dequantize(weights, scales, biases, options \\ []) do
    [group_size, bits, mode, global_scale, type, stream] = values(options, :dequantize, global_scale: nil, type: nil)
    type = type && Type.normalize!(type, :dequantize)
    Native.dequantize(weights, scales, biases, group_size, bits, mode, global_scale, type, stream)
  end

  @doc """
  The matrix product of `x` with a quantized matrix, without unpacking it.

  Options beside `:mode`, `:group_size` and `:bits` of `quantize/2`:

    * `:transpose` - multiply by the transpose, as a linear layer does with weights `{outputs, inputs}`; default true

  Examples:

      iex> w = Mlx.ones({8, 64})
      iex> {weights, scales, biases} = Mlx.quantize(w)
      iex> Mlx.quantized_matmul(Mlx.ones({1, 64}), weights, scales, biases).shape
      {1, 8}

  Python: `mlx.core.quantized_matmul`.
  """
  @spec quantized_matmul(Array.t(), Array.t(), Array.t(), Array.t() | nil, keyword()) :: Array.t()
  def quantized_matmul(x, %Array{} = weights, %Array{} = scales, biases, options \\ []) do
    [group_size, bits, mode, transpose, stream] = values(options, :quantized_matmul, transpose: true)
    Operand.elements!([x, weights], :quantized_matmul)
    check_rows!(:quantized_matmul, weights, scales, biases)
    Native.quantized_matmul(x, weights, scales, biases, transpose, group_size, bits, mode, stream)
  end

  @doc """
  The matrix products of stacks, of which the second is quantized, picked by index arrays; see `gather_mm/3`.

  Options beside those of `quantized_matmul/5`:

    * `:left_indices`, `:right_indices` - arrays of indices into the leading axes of `x` and of the quantized matrices
    * `:sorted` - promise that the indices are sorted, default false
    * `:global_scale` - one scale, `:f32`, for each quantized matrix; only for `:nvfp4`, with indices, and on a GPU

  Examples:

      iex> {weights, scales, biases} = Mlx.quantize(Mlx.ones({3, 8, 64}))
      iex> Mlx.gather_qmm(Mlx.ones({1, 64}), weights, scales, biases, right_indices: Mlx.array([2, 0])).shape
      {2, 1, 8}

  Python: `mlx.core.gather_qmm`.
  """
  @spec gather_qmm(Array.t(), Array.t(), Array.t(), Array.t() | nil, keyword()) :: Array.t()
  def gather_qmm(x, %Array{} = weights, %Array{} = scales, biases, options \\ []) do
    own = [transpose: true, left_indices: nil, right_indices: nil, global_scale: nil, sorted: false]
    [group_size, bits, mode, transpose, left, right, scale, sorted, stream] = values(options, :gather_qmm, own)
    Operand.elements!([x, weights], :gather_qmm)
    check_rows!(:gather_qmm, weights, scales, biases)

    Native.gather_qmm(
      x,
      weights,
      scales,
      biases,
      left,
      right,
      transpose,
      group_size,
      bits,
      mode,
      scale,
      sorted,
      stream
    )
  end

  @doc """
  The matrix product where both sides are quantized: `x` on the fly, and the weights, which are multiplied transposed.

  `weights` is quantized, with `:scales`, or a plain matrix. To compute the result takes a GPU that has this operation.

  Options:

    * `:mode` - `:nvfp4` (default), `:mxfp8`, ...
    * `:scales` - of the weights, default `nil`
    * `:group_size`, `:bits` - as in `quantize/2`
    * `:global_scale_x`, `:global_scale_w` - arrays, for `:nvfp4`

  Examples:

      iex> {weights, scales} = Mlx.quantize(Mlx.ones({4, 64}), mode: :nvfp4)
      iex> Mlx.qqmm(Mlx.ones({2, 64}), weights, scales: scales).shape
      {2, 4}

  Python: `mlx.core.qqmm`.
  """
  @spec qqmm(Array.t(), Array.t(), keyword()) :: Array.t()
  def qqmm(x, weights, options \\ []) do
    own = [scales: nil, global_scale_x: nil, global_scale_w: nil]
    options = in_mode(options, :nvfp4)
    [group_size, bits, mode, scales, scale_x, scale_w, stream] = values(options, :qqmm, own)
    Native.qqmm(x, weights, scales, group_size, bits, mode, scale_x, scale_w, stream)
  end

  @doc """
  The products of `qqmm/3` for stacks picked by index arrays; see `gather_mm/3`. To compute the result takes a GPU that has
  this operation.

  Options beside those of `qqmm/3`: `:left_indices`, `:right_indices` and `:sorted`.

      iex> {weights, scales} = Mlx.quantize(Mlx.ones({3, 4, 64}), mode: :nvfp4)
      iex> Mlx.gather_qqmm(Mlx.ones({2, 64}), weights, scales: scales, right_indices: Mlx.array([2, 0])).shape
      {2, 2, 4}

  Python: `mlx.core.gather_qqmm`.
  """
  @spec gather_qqmm(Array.t(), Array.t(), keyword()) :: Array.t()
  def gather_qqmm(x, weights, options \\ []) do
    own = [
      scales: nil,
      left_indices: nil,
      right_indices: nil,
      global_scale_x: nil,
      global_scale_w: nil,
      sorted: false
    ]

    options = in_mode(options, :nvfp4)

    [group_size, bits, mode, scales, left, right, scale_x, scale_w, sorted, stream] =
      values(options, :gather_qqmm, own)

    Native.gather_qqmm(
      x,
      weights,
      scales,
      left,
      right,
      group_size,
      bits,
      mode,
      scale_x,
      scale_w,
      sorted,
      stream
    )
  end

  @doc """
  Converts floating-point numbers to 8-bit floats (E4M3), which are held in `:u8`.

      iex> Mlx.to_fp8(Mlx.array([1.0, 2.0])).type
      :u8

  Python: `mlx.core.to_fp8`.
  """
  @spec to_fp8(Array.t(), keyword()) :: Array.t()
  def to_fp8(array, options \\ []), do: Native.to_fp8(array, Options.stream(options, :to_fp8))

  @doc """
  Converts 8-bit floats (E4M3), held in `:u8`, to another type.

  Options:

    * `:type` - default `:bf16`

  Examples:

      iex> Mlx.array([1.0, 2.5]) |> Mlx.to_fp8() |> Mlx.from_fp8(type: :f32) |> Mlx.to_list()
      [1.0, 2.5]

  Python: `mlx.core.from_fp8`.
  """
  @spec from_fp8(Array.t(), keyword()) :: Array.t()
  def from_fp8(array, options \\ []) do
    [type, stream] = Options.values(options, :from_fp8, type: :bf16)
    Native.from_fp8(array, Type.normalize!(type, :from_fp8), stream)
  end

  # Whatever else was given for options is told of where they are read.
  defp in_mode(options, mode),
    do: if(Keyword.keyword?(options), do: Keyword.put_new(options, :mode, mode), else: options)

  defp values(options, function, own) do
    [group_size, bits, mode | rest] =
      Options.values(options, function, [group_size: nil, bits: nil, mode: :affine] ++ own)

    unless mode in @modes do
      raise ArgumentError, "Mlx.#{function}: expected :mode to be one of #{inspect(@modes)}, got: #{inspect(mode)}"
    end

    if group_size == 0, do: raise(ArgumentError, "Mlx.#{function}: :group_size cannot be 0")
    [group_size, bits, mode | rest]
  end

  # MLX compares the last axes only, and would read beyond the end of scales and biases with fewer rows.
  defp check_rows!(function, %Array{} = weights, %Array{} = scales, biases) do
    unless rows(weights) == rows(scales) and
             (is_nil(biases) or (is_struct(biases, Array) and biases.shape == scales.shape)) do
      raise ArgumentError,
            "Mlx.#{function}: expected scales and biases with a row for each row of the weights, got: " <>
              "#{Given.text(weights)}, #{Given.text(scales)} and #{Given.text(biases)}"
    end
  end

  defp rows(%Array{shape: {}}), do: :none
  defp rows(%Array{shape: shape}), do: Tuple.delete_at(shape, tuple_size(shape) - 1)
end
