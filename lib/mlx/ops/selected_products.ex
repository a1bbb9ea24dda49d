defmodule Mlx.Ops.SelectedProducts do
  @moduledoc false
  # Products of matrices, or of blocks of them, that indices or masks choose: what layers of experts are made of.

  use Mlx.Ops.Topic, title: "Products of selected matrices"

  alias Mlx.{Array, Native}
  alias Mlx.Arguments.{Operand, Options}

  @doc """
  The matrix product with blocks left out (or scaled) by masks.

  A mask has one element for each block of `:block_size` x `:block_size` elements of its matrix. Types are
  floating-point.

  Options:

    * `:block_size` - 32 or 64, default 64
    * `:mask_out`, `:mask_left`, `:mask_right` - arrays for the result, `a` and `b`: boolean, or numbers to scale by

  Examples:

      iex> a = Mlx.ones({64, 64})
      iex> Mlx.block_masked_mm(a, a, mask_out: Mlx.array([[false]])) |> Mlx.sum() |> Mlx.to_number()
      0.0

  Python: `mlx.core.block_masked_mm`.
  """
  @spec block_masked_mm(Array.t(), Array.t(), keyword()) :: Array.t()
  def block_masked_mm(a, b, options \\ []) do
    defaults = [block_size: 64, mask_out: nil, mask_left: nil, mask_right: nil]
    [block_size, out, left, right, stream] = Options.values(options, :block_masked_mm, defaults)
    Native.block_masked_mm(a, b, block_size, out, left, right, stream)
  end

  @doc """
  Matrix products of matrices picked from stacks by index arrays, without copying them.

  Options:

    * `:left_indices`, `:right_indices` - arrays of indices into the flattened leading axes of `a` and `b`; they
      broadcast together. Without one, the stack itself is broadcast. Out of bounds they are clamped.
    * `:sorted` - promise that the indices are sorted, which can be faster, default false

  Examples:

      iex> a = Mlx.array([[[1.0]], [[2.0]]])
      iex> b = Mlx.array([[[10.0]], [[100.0]]])
      iex> Mlx.gather_mm(a, b, right_indices: Mlx.array([1, 0])) |> Mlx.to_list()
      [[[100.0]], [[20.0]]]

  Python: `mlx.core.gather_mm`.
  """
  @spec gather_mm(Array.t(), Array.t(), keyword()) :: Array.t()
  def gather_mm(a, b, options \\ []) do
    defaults = [left_indices: nil, right_indices: nil, sorted: false]
    [left, right, sorted, stream] = Options.values(options, :gather_mm, defaults)
    Operand.elements!([a, b], :gather_mm)
    Native.gather_mm(a, b, left, right, sorted, stream)
  end

  @doc """
  Matrix products over segments of the inner axis: `segments` has the shape `{..., 2}` and holds a start and a stop for
  each product.

      iex> a = Mlx.array([[1.0, 2.0, 3.0]])
      iex> b = Mlx.array([[1.0], [1.0], [1.0]])
      iex> Mlx.segmented_mm(a, b, Mlx.array([[0, 1], [1, 3]], type: :u32)) |> Mlx.to_list()
      [[[1.0]], [[5.0]]]

  Python: `mlx.core.segmented_mm`.
  """
  @spec segmented_mm(Array.t(), Array.t(), Array.t(), keyword()) :: Array.t()
  def segmented_mm(a, b, segments, options \\ []) do
    stream = Options.stream(options, :segmented_mm)
    Operand.elements!([a, b], :segmented_mm)
    Native.segmented_mm(a, b, segments, stream)
  end
end
