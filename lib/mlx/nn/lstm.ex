defmodule Mlx.NN.LSTM do
  @moduledoc """
  A long short-term memory.

  With `i, f, g, o` for the quarters of the products with a matrix:

      i = sigmoid(Wx_i @ x[t] + Wh_i @ h[t - 1] + b_i)
      f = sigmoid(Wx_f @ x[t] + Wh_f @ h[t - 1] + b_f)
      g = tanh(Wx_g @ x[t] + Wh_g @ h[t - 1] + b_g)
      o = sigmoid(Wx_o @ x[t] + Wh_o @ h[t - 1] + b_o)
      c[t] = f * c[t - 1] + i * g
      h[t] = o * tanh(c[t])

  | parameter | shape |
  | --- | --- |
  | `Wx` | `{4 * hidden_size, input_size}` |
  | `Wh` | `{4 * hidden_size, hidden_size}` |
  | `bias` | `{4 * hidden_size}`, or `nil` |

  Source: Hochreiter and Schmidhuber, "Long Short-Term Memory" (1997). Python: `mlx.nn.LSTM`.
  """

  use Mlx.Arguments.Mismatch
  use Mlx.Operators

  alias Mlx.Array
  alias Mlx.Arguments.Options
  alias Mlx.NN.{Projection, Recurrence}

  @derive Mlx.NN.Layer
  @enforce_keys [:Wx, :Wh, :bias, :hidden_size]
  defstruct @enforce_keys

  @type t :: %__MODULE__{Wx: Array.t(), Wh: Array.t(), bias: Array.t() | nil, hidden_size: pos_integer()}

  @doc """
  A layer for inputs of `input_size` features and states of `hidden_size`. Its parameters are uniform numbers between
  `-1 / sqrt(hidden_size)` and `1 / sqrt(hidden_size)`.

  Options:

    * `:bias` - whether it has a bias, default true

  Examples:

      iex> Mlx.NN.LSTM.new(3, 4)
      #Mlx.NN.LSTM<Wx: f32[16][3], Wh: f32[16][4], bias: f32[16], hidden_size: 4>

  Python: `mlx.nn.LSTM`.
  """
  @spec new(pos_integer(), pos_integer(), keyword()) :: t()
  def new(input_size, hidden_size, options \\ [])

  def new(input_size, hidden_size, options)
      when is_integer(input_size) and input_size > 0 and is_integer(hidden_size) and hidden_size > 0 do
    [bias] = Options.without_stream(options, :"NN.LSTM.new", bias: true)

    %__MODULE__{
      Wx: Recurrence.parameter({4 * hidden_size, input_size}, hidden_size),
      Wh: Recurrence.parameter({4 * hidden_size, hidden_size}, hidden_size),
      bias: if(bias, do: Recurrence.parameter({4 * hidden_size}, hidden_size)),
      hidden_size: hidden_size
    }
  end

  @doc """
  `{states, cells}` after each of the inputs `{..., length, input_size}`, both `{..., length, hidden_size}`.

  Options:

    * `:hidden`, `:cell` - state and cell before the first input, `{..., hidden_size}`, default zeros

  Examples:

      iex> layer = Mlx.NN.LSTM.new(3, 4)
      iex> {states, cells} = Mlx.NN.LSTM.call(layer, Mlx.ones({2, 5, 3}))
      iex> {states, _cells} = Mlx.NN.LSTM.call(layer, Mlx.ones({2, 1, 3}), hidden: states[[.., -1]], cell: cells[[.., -1]])
      iex> states.shape
      {2, 1, 4}

  Python: `LSTM.__call__`.
  """
  @spec call(t(), Array.t(), keyword()) :: {Array.t(), Array.t()}
  def call(layer, x, options \\ [])

  def call(%__MODULE__{Wx: wx, Wh: wh, bias: bias}, %Array{} = x, options) do
    [hidden, cell] = Options.without_stream(options, :"NN.LSTM.call", hidden: nil, cell: nil)
    Recurrence.check!(x, elem(wx.shape, 1), "Mlx.NN.LSTM.call")
    wh = Mlx.transpose(wh)

    step = fn input, {hidden, cell} ->
      next(if(hidden, do: Mlx.addmm(input, hidden, wh), else: input), cell)
    end

    [states, cells] = x |> Projection.apply(wx, bias) |> Recurrence.scan({hidden, cell}, step)
    {states, cells}
  end

  defp next(sums, cell) do
    [i, f, g, o] = Mlx.split(sums, 4, axis: -1)
    taken = Mlx.sigmoid(i) * Mlx.tanh(g)
    cell = if cell, do: Mlx.sigmoid(f) * cell + taken, else: taken
    {Mlx.sigmoid(o) * Mlx.tanh(cell), cell}
  end
end
