defmodule Mlx.NN.RoPE do
  @moduledoc """
  Rotary positional encoding: pairs of features are rotated by an angle that grows with the position.

  Source: Su et al., "RoFormer" (2021). Python: `mlx.nn.RoPE`.
  """

  use Mlx.Arguments.Mismatch

  alias Mlx.{Array, Fast}
  alias Mlx.Arguments.Options

  @derive Mlx.NN.Layer
  @enforce_keys [:dims, :traditional, :base, :scale]
  defstruct @enforce_keys

  @type t :: %__MODULE__{dims: pos_integer(), traditional: boolean(), base: number(), scale: number()}

  @doc """
  A layer that rotates the first `dims` features.

  Options:

    * `:traditional` - whether neighbouring features are pairs, and not those of the two halves; default false
    * `:base` - of the angular frequencies, default 10000
    * `:scale` - a factor of the positions, default 1.0

  Examples:

      iex> Mlx.NN.RoPE.new(8, base: 500)
      #Mlx.NN.RoPE<dims: 8, traditional: false, base: 500, scale: 1.0>

  Python: `mlx.nn.RoPE`.
  """
  @spec new(pos_integer(), keyword()) :: t()
  def new(dims, options \\ [])

  def new(dims, options) when is_integer(dims) and dims > 0 do
    defaults = [traditional: false, base: 10_000, scale: 1.0]
    struct!(__MODULE__, [dims: dims] ++ Options.complete(options, :"NN.RoPE.new", defaults))
  end

  @doc """
  The rotated array, for one `{batch, ..., length, features}`.

  Options:

    * `:offset` - the position of the first element: an integer, a 0-d array, or an array with one for each entry of the
      batch; default 0

  Examples:

      iex> layer = Mlx.NN.RoPE.new(4)
      iex> x = Mlx.ones({1, 2, 4})
      iex> later = Mlx.NN.RoPE.call(layer, x, offset: 1)
      iex> Mlx.NN.RoPE.call(layer, x)[[0, 1]] |> Mlx.all_close(later[[0, 0]]) |> Mlx.to_number()
      true

  The operation is `Mlx.Fast.rope/3`. Python: `RoPE.__call__`.
  """
  @spec call(t(), Array.t(), keyword()) :: Array.t()
  def call(layer, x, options \\ [])

  def call(%__MODULE__{} = layer, %Array{} = x, options) do
    [offset] = Options.without_stream(options, :"NN.RoPE.call", offset: 0)

    Fast.rope(x, layer.dims,
      traditional: layer.traditional,
      base: layer.base,
      scale: layer.scale,
      offset: offset
    )
  end
end
