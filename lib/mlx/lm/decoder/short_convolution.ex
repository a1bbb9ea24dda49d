defmodule Mlx.LM.Decoder.ShortConvolution do
  @moduledoc """
  A gated convolution over a few positions:

      b, c, x = in_proj(x)
      y = out_proj(c * conv(b * x))

  Its cache keeps the last inputs of the convolution.
  """

  @behaviour Mlx.LM.Decoder.Mixer

  alias Mlx.{Array, NN}
  alias Mlx.Arguments.Options
  alias Mlx.LM.StateCache
  alias Mlx.LM.Decoder.{Parameter, TimeConvolution}

  @enforce_keys [:in_proj, :conv, :out_proj]
  defstruct @enforce_keys

  @type t :: %__MODULE__{}

  @doc """
  A mixer with zeros for arrays. Options: `:width`, `:kernel`, how many positions an output sees, and `:bias`, whether all
  three parts have biases (default false).
  """
  @impl true
  @spec new(keyword()) :: t()
  def new(options) do
    defaults = [width: nil, kernel: nil, bias: false]
    [width, kernel, bias] = Options.without_stream(options, :"LM.Decoder.ShortConvolution.new", defaults)

    %__MODULE__{
      in_proj: Parameter.linear(width, 3 * width, bias),
      conv: TimeConvolution.new(width, kernel, bias),
      out_proj: Parameter.linear(width, width, bias)
    }
  end

  @impl true
  def cache(%__MODULE__{}), do: StateCache.new()

  @impl true
  def call(%__MODULE__{} = mixer, %Array{shape: {_batch, length, _width}} = x, cache, step) do
    [before, after_it, x] = mixer.in_proj |> NN.Layer.call(x) |> Mlx.split(3, axis: -1)
    {state} = cache.state || {nil}
    {y, state} = TimeConvolution.call(mixer.conv, Mlx.multiply(before, x), state)
    {NN.Layer.call(mixer.out_proj, Mlx.multiply(after_it, y)), StateCache.put(cache, {state}, length), step}
  end
end
