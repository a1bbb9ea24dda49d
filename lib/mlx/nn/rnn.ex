defmodule Mlx.NN.RNN do
  @moduledoc """
  An Elman recurrent layer: `h[t] = nonlinearity(Wxh @ x[t] + Whh @ h[t - 1] + bias)`.

  | parameter | shape |
  | --- | --- |
  | `Wxh` | `{hidden_size, input_size}` |
  | `Whh` | `{hidden_size, hidden_size}` |
  | `bias` | `{hidden_size}`, or `nil` |

  Source: Elman, "Finding Structure in Time" (1990). Python: `mlx.nn.RNN`.
  """

  use Mlx.Arguments.Mismatch

  alias Mlx.Array
  alias Mlx.Arguments.Options
  alias Mlx.NN.{Activations, Projection, Recurrence}

  @derive Mlx.NN.Layer
  @enforce_keys [:Wxh, :Whh, :bias, :hidden_size, :nonlinearity]
  defstruct @enforce_keys

  @type t :: %__MODULE__{
          Wxh: Array.t(),
          Whh: Array.t(),
          bias: Array.t() | nil,
          hidden_size: pos_integer(),
          nonlinearity: (Array.t() -> Array.t())
        }

  @doc """
  A layer for inputs of `input_size` features and states of `hidden_size`. Its parameters are uniform numbers between
  `-1 / sqrt(hidden_size)` and `1 / sqrt(hidden_size)`.

  Options:

    * `:bias` - whether it has a bias, default true
    * `:nonlinearity` - a function of an array, default `&Mlx.NN.Activations.tanh/1`

  Examples:

      iex> Mlx.NN.RNN.new(3, 4).bias.shape
      {4}

  Python: `mlx.nn.RNN`.
  """
  @spec new(pos_integer(), pos_integer(), keyword()) :: t()
  def new(input_size, hidden_size, options \\ [])

  def new(input_size, hidden_size, options)
      when is_integer(input_size) and input_size > 0 and is_integer(hidden_size) and hidden_size > 0 do
    defaults = [bias: true, nonlinearity: &Activations.tanh/1]
    [bias, nonlinearity] = Options.without_stream(options, :"NN.RNN.new", defaults)
    Mlx.Arguments.Arity.check!(nonlinearity, 1, "Mlx.NN.RNN.new")

    %__MODULE__{
      Wxh: Recurrence.parameter({hidden_size, input_size}, hidden_size),
      Whh: Recurrence.parameter({hidden_size, hidden_size}, hidden_size),
      bias: if(bias, do: Recurrence.parameter({hidden_size}, hidden_size)),
      hidden_size: hidden_size,
      nonlinearity: nonlinearity
    }
  end

  @doc """
  The states `{..., length, hidden_size}` after each of the inputs `{..., length, input_size}`.

  Options:

    * `:hidden` - the state before the first input, `{..., hidden_size}`, default zeros

  Examples:

      iex> layer = Mlx.NN.RNN.new(3, 4)
      iex> y = Mlx.NN.RNN.call(layer, Mlx.ones({2, 5, 3}))
      iex> Mlx.NN.RNN.call(layer, Mlx.ones({2, 1, 3}), hidden: y[[.., -1]]).shape
      {2, 1, 4}

  Python: `RNN.__call__`.
  """
  @spec call(t(), Array.t(), keyword()) :: Array.t()
  def call(layer, x, options \\ [])

  def call(%__MODULE__{Wxh: wxh, Whh: whh} = layer, %Array{} = x, options) do
    [hidden] = Options.without_stream(options, :"NN.RNN.call", hidden: nil)
    Recurrence.check!(x, elem(wxh.shape, 1), "Mlx.NN.RNN.call")
    whh = Mlx.transpose(whh)

    step = fn input, {hidden} ->
      sum = if hidden, do: Mlx.addmm(input, hidden, whh), else: input
      {layer.nonlinearity.(sum)}
    end

    [states] = x |> Projection.apply(wxh, layer.bias) |> Recurrence.scan({hidden}, step)
    states
  end
end
