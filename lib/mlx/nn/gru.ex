defmodule Mlx.NN.GRU do
  @moduledoc """
  A gated recurrent unit.

  With `r, z, n` for the thirds of the products with a matrix:

      r = sigmoid(Wx_r @ x[t] + b_r + Wh_r @ h[t - 1])
      z = sigmoid(Wx_z @ x[t] + b_z + Wh_z @ h[t - 1])
      n = tanh(Wx_n @ x[t] + b_n + r * (Wh_n @ h[t - 1] + bhn))
      h[t] = (1 - z) * n + z * h[t - 1]

  | parameter | shape |
  | --- | --- |
  | `Wx` | `{3 * hidden_size, input_size}` |
  | `Wh` | `{3 * hidden_size, hidden_size}` |
  | `b` | `{3 * hidden_size}`, or `nil` |
  | `bhn` | `{hidden_size}`, or `nil` |

  Source: Cho et al., "Learning Phrase Representations using RNN Encoder-Decoder" (2014). Python: `mlx.nn.GRU`.
  """

  use Mlx.Arguments.Mismatch
  use Mlx.Operators

  alias Mlx.Array
  alias Mlx.Arguments.Options
  alias Mlx.NN.{Projection, Recurrence}

  @derive Mlx.NN.Layer
  @enforce_keys [:Wx, :Wh, :b, :bhn, :hidden_size]
  defstruct @enforce_keys

  @type t :: %__MODULE__{
          Wx: Array.t(),
          Wh: Array.t(),
          b: Array.t() | nil,
          bhn: Array.t() | nil,
          hidden_size: pos_integer()
        }

  @doc """
  A layer for inputs of `input_size` features and states of `hidden_size`. Its parameters are uniform numbers between
  `-1 / sqrt(hidden_size)` and `1 / sqrt(hidden_size)`.

  Options:

    * `:bias` - whether it has the biases, default true

  Examples:

      iex> Mlx.NN.GRU.new(3, 4)
      #Mlx.NN.GRU<Wx: f32[12][3], Wh: f32[12][4], b: f32[12], bhn: f32[4], hidden_size: 4>

  Python: `mlx.nn.GRU`.
  """
  @spec new(pos_integer(), pos_integer(), keyword()) :: t()
  def new(input_size, hidden_size, options \\ [])

  def new(input_size, hidden_size, options)
      when is_integer(input_size) and input_size > 0 and is_integer(hidden_size) and hidden_size > 0 do
    [bias] = Options.without_stream(options, :"NN.GRU.new", bias: true)

    %__MODULE__{
      Wx: Recurrence.parameter({3 * hidden_size, input_size}, hidden_size),
      Wh: Recurrence.parameter({3 * hidden_size, hidden_size}, hidden_size),
      b: if(bias, do: Recurrence.parameter({3 * hidden_size}, hidden_size)),
      bhn: if(bias, do: Recurrence.parameter({hidden_size}, hidden_size)),
      hidden_size: hidden_size
    }
  end

  @doc """
  The states `{..., length, hidden_size}` after each of the inputs `{..., length, input_size}`.

  Options:

    * `:hidden` - the state before the first input, `{..., hidden_size}`, default zeros

  Examples:

      iex> layer = Mlx.NN.GRU.new(3, 4)
      iex> y = Mlx.NN.GRU.call(layer, Mlx.ones({2, 5, 3}))
      iex> Mlx.NN.GRU.call(layer, Mlx.ones({2, 1, 3}), hidden: y[[.., -1]]).shape
      {2, 1, 4}

  Python: `GRU.__call__`.
  """
  @spec call(t(), Array.t(), keyword()) :: Array.t()
  def call(layer, x, options \\ [])

  def call(%__MODULE__{Wx: wx, Wh: wh} = layer, %Array{} = x, options) do
    [hidden] = Options.without_stream(options, :"NN.GRU.call", hidden: nil)
    Recurrence.check!(x, elem(wx.shape, 1), "Mlx.NN.GRU.call")
    wh = Mlx.transpose(wh)
    step = fn input, {hidden} -> {next(thirds(input), hidden, wh, layer.bhn)} end
    [states] = x |> Projection.apply(wx, layer.b) |> Recurrence.scan({hidden}, step)
    states
  end

  defp next([r, z, n], nil, _wh, bhn) do
    n = Mlx.tanh(if bhn, do: n + Mlx.sigmoid(r) * bhn, else: n)
    (1 - Mlx.sigmoid(z)) * n
  end

  defp next([r, z, n], hidden, wh, bhn) do
    [of_r, of_z, of_n] = hidden |> Mlx.matmul(wh) |> thirds()
    [r, z] = [Mlx.sigmoid(r + of_r), Mlx.sigmoid(z + of_z)]
    n = Mlx.tanh(n + r * if(bhn, do: of_n + bhn, else: of_n))
    (1 - z) * n + z * hidden
  end

  defp thirds(array), do: Mlx.split(array, 3, axis: -1)
end
