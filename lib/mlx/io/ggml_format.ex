defmodule Mlx.IO.GGMLFormat do
  @moduledoc false
  # The quantized formats of ggml, and what their blocks hold:
  #
  #     number = scale * (level - zero)      or      scale * level + shift
  #
  # A level is an integer without a sign. A group of levels has a scale, and a zero or a shift. Most formats only differ in
  # where in a block these are: they are rows of a table, which `Mlx.IO.GGMLFields` reads. Those with grids are read by
  # `Mlx.IO.GGMLGridBlocks`. `Mlx.IO.GGMLBlocks` makes arrays of what is read.
  #
  # Scales and shifts are exact in `:f32`, as they are products of a `:f16` number and a small integer.

  alias Mlx.Array
  alias Mlx.IO.{GGMLFields, GGMLGridBlocks, GGMLType}

  @typedoc """
  What blocks hold: levels `{blocks, numbers}` of the type `:u8`, `:f32` scales `{blocks, groups}`, and a zero, which is one
  number or one of each group, or the shifts of the groups.
  """
  @type content :: {Array.t(), Array.t(), {:zero, number() | Array.t()} | {:shift, Array.t()}}

  # The levels of IQ4_NL and IQ4_XS, too large by 128.
  @iq4 [1, 24, 45, 63, 79, 93, 106, 118, 129, 141, 153, 166, 181, 197, 217, 241]
  # Twice the numbers of E2M1, too large by 12.
  @e2m1 [12, 13, 14, 15, 16, 18, 20, 24, 12, 11, 10, 9, 8, 6, 4, 0]

  # The 8 scales and 8 shifts of 6 bits of Q4_K and Q5_K, which are 12 bytes from 4 on. The first 4 of both are in the low
  # bits of bytes 0 to 7. The others have their low bits in bytes 8 to 11, and their high ones in what is left.
  @k_scales {:join, [[{4, {1, 4}, [0], 6}], [{12, {1, 4}, [0], 4}, {4, {1, 4}, [6], 2}]]}
  @k_shifts {:join, [[{8, {1, 4}, [0], 6}], [{12, {1, 4}, [4], 4}, {8, {1, 4}, [6], 2}]]}

  # Keys:
  #
  #     bits         of a level, in MLX's form: 2, 3, 4, 5 or 8
  #     group        how many levels share a scale
  #     type         the type that holds scales and shifts as exactly as the file
  #     mode         of MLX's quantization with its own scales, `{mode, codes, scales}`; otherwise :affine
  #     levels       integers, see `Mlx.IO.GGMLFields`
  #     d            the scale of the block, or those of its groups
  #     by           integers and their zero: a group's scale is d times their difference
  #     zero         of the levels
  #     plus, minus  the shift of the block; what is taken away, times integers
  @formats %{
    q4_0: %{bits: 4, group: 32, type: :f16, d: 0, levels: [{2, {1, 16}, [0, 4], 4}], zero: 8},
    q4_1: %{bits: 4, group: 32, type: :f16, d: 0, levels: [{4, {1, 16}, [0, 4], 4}], plus: 2},
    q5_0: %{bits: 5, group: 32, type: :f16, d: 0, levels: [{6, {1, 16}, [0, 4], 4}, {2, {4, 1}, 0..7, 1}], zero: 16},
    q5_1: %{bits: 5, group: 32, type: :f16, d: 0, levels: [{8, {1, 16}, [0, 4], 4}, {4, {4, 1}, 0..7, 1}], plus: 2},
    q8_0: %{bits: 8, group: 32, type: :f16, d: 0, levels: {:signed, 2, 32}, zero: 128},
    q2_k: %{
      bits: 2,
      group: 16,
      levels: [{16, {2, 32}, [0, 2, 4, 6], 2}],
      d: 80,
      by: {[{0, {1, 16}, [0], 4}], 0},
      minus: {82, [{0, {1, 16}, [4], 4}]}
    },
    q3_k: %{
      bits: 3,
      group: 16,
      levels: [{32, {2, 32}, [0, 2, 4, 6], 2}, {0, {1, 32}, 0..7, 1}],
      d: 108,
      by: {[{96, {1, 8}, [0, 4], 4}, {104, {1, 4}, [0, 2, 4, 6], 2}], 32},
      zero: 4
    },
    q4_k: %{
      bits: 4,
      group: 32,
      type: :f32,
      levels: [{16, {4, 32}, [0, 4], 4}],
      d: 0,
      by: {@k_scales, 0},
      minus: {2, @k_shifts}
    },
    q5_k: %{
      bits: 5,
      group: 32,
      type: :f32,
      levels: [{48, {4, 32}, [0, 4], 4}, {16, {1, 32}, 0..7, 1}],
      d: 0,
      by: {@k_scales, 0},
      minus: {2, @k_shifts}
    },
    q6_k: %{
      bits: 6,
      group: 16,
      levels: [{0, {2, 64}, [0, 4], 4}, {128, {2, 32}, [0, 2, 4, 6], 2}],
      d: 208,
      by: {{:signed, 192, 16}, 128},
      zero: 32
    },
    tq1_0: %{bits: 2, group: 32, type: :f16, levels: {:thirds, [{0, 32, 5}, {32, 16, 5}, {48, 4, 4}]}, d: 52, zero: 1},
    tq2_0: %{bits: 2, group: 32, type: :f16, levels: [{0, {2, 32}, [0, 2, 4, 6], 2}], d: 64, zero: 1},
    mxfp4: %{
      bits: 4,
      group: 32,
      mode: {:mxfp4, [{1, {1, 16}, [0, 4], 4}], {:e8m0, 0, 1}},
      levels: {:table, @e2m1, [{1, {1, 16}, [0, 4], 4}]},
      d: {:e8m0, 0, 1},
      zero: 12
    },
    nvfp4: %{
      bits: 4,
      group: 16,
      mode: {:nvfp4, [{4, {4, 8}, [0, 4], 4}], {:e4m3, 0, 4}},
      levels: {:table, @e2m1, [{4, {4, 8}, [0, 4], 4}]},
      d: {:e4m3, 0, 4},
      zero: 12
    },
    iq4_nl: %{bits: 8, group: 32, type: :f16, d: 0, levels: {:table, @iq4, [{2, {1, 16}, [0, 4], 4}]}, zero: 128},
    iq4_xs: %{
      bits: 8,
      group: 32,
      type: :f32,
      levels: {:table, @iq4, [{8, {8, 16}, [0, 4], 4}]},
      d: 0,
      by: {[{4, {4, 1}, [0, 4], 4}, {2, {2, 1}, [0, 2, 4, 6], 2}], 32},
      zero: 128
    },
    iq1_s: %{bits: 2, group: 32, type: :f32},
    iq1_m: %{bits: 5, group: 8},
    iq2_xxs: %{bits: 8, group: 32, type: :f32},
    iq2_xs: %{bits: 8, group: 16},
    iq2_s: %{bits: 8, group: 16},
    iq3_xxs: %{bits: 8, group: 32, type: :f32},
    iq3_s: %{bits: 4, group: 32, type: :f32}
  }

  @doc "What is told of a format in the table. Raises `KeyError` for a type that is none."
  @spec fetch!(GGMLType.t()) :: map()
  def fetch!(type), do: Map.fetch!(@formats, type)

  @doc "Whether a type is a quantized format that is read."
  @spec known?(GGMLType.t()) :: boolean()
  def known?(type), do: is_map_key(@formats, type)

  @doc """
  The options of `Mlx.dequantize/4` for the form of a format in which MLX multiplies and that has the same numbers, or nil
  when there is none: MLX's groups with a scale and a bias are of 32, 64 or 128 numbers.
  """
  @spec quantization(GGMLType.t()) :: keyword() | nil
  def quantization(type) do
    case @formats do
      %{^type => %{bits: bits, group: group, mode: {mode, _codes, _scales}}} ->
        [mode: mode, group_size: group, bits: bits]

      %{^type => %{bits: bits, group: 32}} ->
        [mode: :affine, group_size: 32, bits: bits]

      _other ->
        nil
    end
  end

  @doc "What blocks of a format hold: an array of bytes with a row for each block."
  @spec content(GGMLType.t(), Array.t()) :: content()
  def content(type, blocks) do
    case fetch!(type) do
      %{levels: _} = format -> GGMLFields.content(format, blocks)
      %{} -> GGMLGridBlocks.content(type, blocks)
    end
  end
end
