defmodule Mlx.NN.SinusoidalPositionalEncoding do
  @moduledoc """
  Positions as sines and cosines of many frequencies.

  The frequencies are `dims / 2` numbers from `max_freq` to `min_freq`, evenly spaced in the logarithm.

  Source: Vaswani et al., "Attention Is All You Need" (2017). Python: `mlx.nn.SinusoidalPositionalEncoding`.
  """

  use Mlx.Arguments.Mismatch

  alias Mlx.Array
  alias Mlx.Arguments.Options

  @derive Mlx.NN.Layer
  @enforce_keys [:dims, :min_freq, :max_freq, :scale, :cos_first, :full_turns]
  defstruct @enforce_keys

  @type t :: %__MODULE__{
          dims: pos_integer(),
          min_freq: number(),
          max_freq: number(),
          scale: number(),
          cos_first: boolean(),
          full_turns: boolean()
        }

  @doc """
  A layer that gives `dims` numbers for a position, an even number.

  Options:

    * `:min_freq`, `:max_freq` - the least and the greatest frequency, default 0.0001 and 1
    * `:scale` - a factor of the result, default `sqrt(2 / dims)`
    * `:cos_first` - whether the cosines come before the sines, default false
    * `:full_turns` - whether a frequency is a number of turns, and not an angle; default false

  Examples:

      iex> Mlx.NN.SinusoidalPositionalEncoding.new(8).scale
      0.5

  Python: `mlx.nn.SinusoidalPositionalEncoding`.
  """
  @spec new(pos_integer(), keyword()) :: t()
  def new(dims, options \\ [])

  def new(dims, options) when is_integer(dims) do
    defaults = [min_freq: 0.0001, max_freq: 1, scale: nil, cos_first: false, full_turns: false]
    settings = Options.complete(options, :"NN.SinusoidalPositionalEncoding.new", defaults)

    check!(dims > 0 and rem(dims, 2) == 0, "dims to be a positive and even number", dims)

    for option <- [:min_freq, :max_freq], value = settings[option] do
      check!(is_number(value) and value > 0, "#{inspect(option)} to be a positive number", value)
    end

    struct!(__MODULE__, [dims: dims] ++ Keyword.update!(settings, :scale, &(&1 || :math.sqrt(2 / dims))))
  end

  defp check!(true, _expected, _given), do: :ok

  defp check!(false, expected, given) do
    raise ArgumentError,
          "Mlx.NN.SinusoidalPositionalEncoding.new: expected #{expected}, got: #{Mlx.Arguments.Given.text(given)}"
  end

  @doc """
  The encodings `{..., dims}` of positions `{...}`.

      iex> layer = Mlx.NN.SinusoidalPositionalEncoding.new(4, scale: 1)
      iex> Mlx.NN.SinusoidalPositionalEncoding.call(layer, Mlx.array([0, 3])) |> Mlx.shape()
      {2, 4}

  Python: `SinusoidalPositionalEncoding.__call__`.
  """
  @spec call(t(), Array.t()) :: Array.t()
  def call(%__MODULE__{scale: scale} = layer, %Array{} = positions) do
    angles = positions |> Mlx.new_axis(-1) |> Mlx.multiply(frequencies(layer))
    parts = [Mlx.sin(angles), Mlx.cos(angles)]
    encodings = Mlx.concatenate(if(layer.cos_first, do: Enum.reverse(parts), else: parts), axis: -1)
    if scale == 1, do: encodings, else: Mlx.multiply(encodings, scale)
  end

  defp frequencies(%__MODULE__{} = layer) do
    [least, greatest] = [:math.log(layer.min_freq), :math.log(layer.max_freq)]
    frequencies = Mlx.exp(Mlx.add(Mlx.multiply(one_to_zero(div(layer.dims, 2)), greatest - least), least))
    if layer.full_turns, do: Mlx.multiply(frequencies, 2 * :math.pi()), else: frequencies
  end

  defp one_to_zero(1), do: Mlx.array([1.0])
  defp one_to_zero(count), do: Mlx.subtract(1, Mlx.divide(Mlx.arange(count), count - 1))
end
