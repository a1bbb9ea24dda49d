defmodule Mlx.Ops.Elementwise.Choice do
  @moduledoc false

  use Mlx.Ops.Topic, title: "Choosing between values"

  alias Mlx.{Array, Native}
  alias Mlx.Arguments.Options

  @doc """
  The elements of `on_true` where `predicate` is true, and those of `on_false` elsewhere. The shapes of all three are
  broadcast.

      iex> Mlx.select(Mlx.array([true, false, true]), Mlx.array([1, 2, 3]), 0)
      #Mlx.Array<
        s32[3]
        [1, 0, 3]
      >

  Every number but 0 is true.

  Python: `mlx.core.where`.
  """
  @spec select(Array.operand(), Array.operand(), Array.operand(), keyword()) :: Array.t()
  def select(predicate, on_true, on_false, options \\ []) do
    Native.where(predicate, on_true, on_false, Options.stream(options, :select))
  end

  @doc """
  The elements, but not below `min` nor above `max`. A bound that is `nil` does not count. The shapes of all three are
  broadcast.

      iex> Mlx.clip(Mlx.array([-2, 0, 5]), 0, 3)
      #Mlx.Array<
        s32[3]
        [0, 0, 3]
      >
      iex> Mlx.clip(Mlx.array([-2, 0, 5]), nil, 3) |> Mlx.to_list()
      [-2, 0, 3]

  Raises when both bounds are `nil`.

  Python: `mlx.core.clip`.
  """
  @spec clip(Array.operand(), Array.operand() | nil, Array.operand() | nil, keyword()) :: Array.t()
  def clip(array, min, max, options \\ [])

  def clip(_array, nil, nil, _options) do
    raise ArgumentError, "Mlx.clip: expected a lower or an upper bound, got nil for both"
  end

  def clip(array, min, max, options), do: Native.clip(array, min, max, Options.stream(options, :clip))

  @doc """
  The array with finite numbers in place of NaN and infinities.

      iex> Mlx.nan_to_num(Mlx.array([1.0, :nan, :infinity]), infinity: 9.0)
      #Mlx.Array<
        f32[3]
        [1.0, 0.0, 9.0]
      >

  Options: `:nan` (default 0), `:infinity` and `:neg_infinity` (default: the greatest and the least finite number of the
  type), `:stream`.

  Python: `mlx.core.nan_to_num`.
  """
  @spec nan_to_num(Array.operand(), keyword()) :: Array.t()
  def nan_to_num(array, options \\ []) do
    [nan, infinity, neg_infinity, stream] =
      Options.values(options, :nan_to_num, nan: 0, infinity: nil, neg_infinity: nil)

    Native.nan_to_num(array, nan, infinity, neg_infinity, stream)
  end
end
