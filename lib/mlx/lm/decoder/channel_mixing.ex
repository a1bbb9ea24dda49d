defmodule Mlx.LM.Decoder.ChannelMixing do
  @moduledoc """
  The feed-forward layer of RWKV, which sees the position before:

      y = value(relu(key(x + x_k * (x before - x)))²)

  Its cache keeps the last input.
  """

  @behaviour Mlx.LM.Decoder.Mixer

  alias Mlx.{Array, NN}
  alias Mlx.Arguments.Options
  alias Mlx.LM.StateCache
  alias Mlx.LM.Activation
  alias Mlx.LM.Decoder.{Parameter, TokenShift}

  @enforce_keys [:key, :value, :x_k]
  defstruct @enforce_keys

  @type t :: %__MODULE__{}

  @doc "A layer with zeros for arrays. Options: `:width` and `:hidden`."
  @impl true
  @spec new(keyword()) :: t()
  def new(options) do
    [width, hidden] = Options.without_stream(options, :"LM.Decoder.ChannelMixing.new", width: nil, hidden: nil)

    %__MODULE__{
      key: Parameter.linear(width, hidden),
      value: Parameter.linear(hidden, width),
      x_k: Parameter.zeros({width})
    }
  end

  @impl true
  def cache(%__MODULE__{}), do: StateCache.new()

  @impl true
  def call(%__MODULE__{} = layer, %Array{shape: {_batch, length, _width}} = x, cache, step) do
    {last} = cache.state || {nil}
    {before, last} = TokenShift.call(x, last)
    mixed = Mlx.add(x, Mlx.multiply(Mlx.subtract(before, x), layer.x_k))
    y = NN.Layer.call(layer.value, Activation.call("relu2", NN.Layer.call(layer.key, mixed)))
    {y, StateCache.put(cache, {last}, length), step}
  end
end
