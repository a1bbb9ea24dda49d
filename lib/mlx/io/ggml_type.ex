defmodule Mlx.IO.GGMLType do
  @moduledoc """
  The tensor types of a GGUF file and the bytes that each takes.

  Quantized types store their numbers in blocks of a fixed count, so a size is only defined for rows that are a whole
  number of blocks long.
  """

  use Mlx.Arguments.Mismatch

  @typedoc "A tensor type, such as `:f32` or `:q4_1`."
  @type t :: atom

  # code, name, numbers in a block, bytes of a block
  @types [
    {0, :f32, 1, 4},
    {1, :f16, 1, 2},
    {2, :q4_0, 32, 18},
    {3, :q4_1, 32, 20},
    {6, :q5_0, 32, 22},
    {7, :q5_1, 32, 24},
    {8, :q8_0, 32, 34},
    {9, :q8_1, 32, 36},
    {10, :q2_k, 256, 84},
    {11, :q3_k, 256, 110},
    {12, :q4_k, 256, 144},
    {13, :q5_k, 256, 176},
    {14, :q6_k, 256, 210},
    {15, :q8_k, 256, 292},
    {16, :iq2_xxs, 256, 66},
    {17, :iq2_xs, 256, 74},
    {18, :iq3_xxs, 256, 98},
    {19, :iq1_s, 256, 50},
    {20, :iq4_nl, 32, 18},
    {21, :iq3_s, 256, 110},
    {22, :iq2_s, 256, 82},
    {23, :iq4_xs, 256, 136},
    {24, :i8, 1, 1},
    {25, :i16, 1, 2},
    {26, :i32, 1, 4},
    {27, :i64, 1, 8},
    {28, :f64, 1, 8},
    {29, :iq1_m, 256, 56},
    {30, :bf16, 1, 2},
    {34, :tq1_0, 256, 54},
    {35, :tq2_0, 256, 66},
    {39, :mxfp4, 32, 17},
    {40, :nvfp4, 64, 36},
    {41, :q1_0, 128, 18}
  ]

  @doc """
  The type that a code in a file stands for, or `:error` when it stands for none that is known.

      iex> Mlx.IO.GGMLType.fetch(3)
      {:ok, :q4_1}
      iex> Mlx.IO.GGMLType.fetch(4)
      :error
  """
  @spec fetch(non_neg_integer) :: {:ok, t} | :error
  for {code, type, _numbers, _bytes} <- @types do
    def fetch(unquote(code)), do: {:ok, unquote(type)}
  end

  def fetch(code) when is_integer(code), do: :error

  @doc """
  The count of numbers in a block of `type`, and the bytes that such a block takes.

      iex> Mlx.IO.GGMLType.block(:q8_0)
      {32, 34}
      iex> Mlx.IO.GGMLType.block(:f16)
      {1, 2}
  """
  @spec block(t) :: {pos_integer, pos_integer}
  for {_code, type, numbers, bytes} <- @types do
    def block(unquote(type)), do: {unquote(numbers), unquote(bytes)}
  end
end
