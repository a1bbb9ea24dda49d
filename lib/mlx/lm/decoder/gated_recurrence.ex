defmodule Mlx.LM.Decoder.GatedRecurrence do
  @moduledoc """
  The recurrent part of Griffin, a linear recurrence with gates:

      y = gelu(linear_y(x))
      x = conv_1d(linear_x(x))
      factor = exp(-8 * sigmoid(recurrent gate of x) * softplus(recurrent_param))
      state = factor * state + sqrt(1 - factor²) * sigmoid(input gate of x) * x         at each step
      y = linear_out(state * y)

  The gates are linear in the features of a head. The first position of a text has no factor in the place of
  `sqrt(1 - factor²)`. Its cache keeps the last inputs of the convolution, and the state.

  Source: De et al., "Griffin: Mixing Gated Linear Recurrences with Local Attention" (2024).
  """

  @behaviour Mlx.LM.Decoder.Mixer

  alias Mlx.{Array, NN}
  alias Mlx.Arguments.Options
  alias Mlx.LM.StateCache
  alias Mlx.LM.Activation
  alias Mlx.LM.Decoder.{LinearScan, Parameter, TimeConvolution}
  alias Mlx.NN.Activations

  @strength -8.0

  defmodule Unit do
    @moduledoc false
    # The parameters of the recurrence, which have a path of their own.

    @gates [:input_gate_weight, :input_gate_bias, :recurrent_gate_weight, :recurrent_gate_bias]
    defstruct [:recurrent_param | @gates]
  end

  @enforce_keys [:linear_x, :linear_y, :linear_out, :conv_1d, :rg_lru, :heads]
  defstruct @enforce_keys

  @type t :: %__MODULE__{}

  @doc """
  A mixer with zeros for arrays. Options: `:width`, `:inner`, the features of the state, `:heads`, which divide these, and
  `:kernel`, how many positions the convolution sees.
  """
  @impl true
  @spec new(keyword()) :: t()
  def new(options) do
    defaults = [width: nil, inner: nil, heads: nil, kernel: nil]
    [width, inner, heads, kernel] = Options.without_stream(options, :"LM.Decoder.GatedRecurrence.new", defaults)

    if rem(inner, heads) != 0 do
      raise Mlx.Error,
        message: "the configuration asks for #{heads} heads of #{inner} features, which they do not divide"
    end

    {matrices, biases} = {{heads, div(inner, heads), div(inner, heads)}, {heads, div(inner, heads)}}

    %__MODULE__{
      linear_x: Parameter.linear(width, inner, true),
      linear_y: Parameter.linear(width, inner, true),
      linear_out: Parameter.linear(inner, width, true),
      conv_1d: TimeConvolution.new(inner, kernel, true),
      rg_lru: %Unit{
        recurrent_param: Parameter.zeros({inner}),
        input_gate_weight: Parameter.zeros(matrices),
        input_gate_bias: Parameter.zeros(biases),
        recurrent_gate_weight: Parameter.zeros(matrices),
        recurrent_gate_bias: Parameter.zeros(biases)
      },
      heads: heads
    }
  end

  @impl true
  def cache(%__MODULE__{}), do: StateCache.new()

  @impl true
  def call(%__MODULE__{rg_lru: unit} = mixer, %Array{shape: {_batch, length, _width}} = x, cache, step) do
    {convolution, state} = cache.state || {nil, nil}
    y = Activation.call("gelu_pytorch_tanh", NN.Layer.call(mixer.linear_y, x))
    {x, convolution} = TimeConvolution.call(mixer.conv_1d, NN.Layer.call(mixer.linear_x, x), convolution)
    input = gate(x, unit.input_gate_weight, unit.input_gate_bias)
    recurrent = gate(x, unit.recurrent_gate_weight, unit.recurrent_gate_bias)

    rate =
      Mlx.multiply(Mlx.as_type(recurrent, :f32), Mlx.multiply(Activations.softplus(unit.recurrent_param), @strength))

    share = Mlx.sqrt(Mlx.negate(Mlx.expm1(Mlx.multiply(rate, 2))))
    share = if state == nil, do: first_whole(share), else: share
    {states, state} = LinearScan.call(Mlx.exp(rate), Mlx.multiply(Mlx.multiply(x, input), share), state)
    y = NN.Layer.call(mixer.linear_out, Mlx.multiply(Mlx.as_type(states, y.type), y))
    {y, StateCache.put(cache, {convolution, state}, length), step}
  end

  defp gate(%Array{shape: {batch, length, features}} = x, %Array{shape: {heads, size, size}} = weight, bias) do
    y =
      x |> Mlx.reshape({batch, length, heads, size}) |> Mlx.swap_axes(1, 2) |> Mlx.matmul(weight) |> Mlx.swap_axes(1, 2)

    y |> Mlx.add(bias) |> Mlx.sigmoid() |> Mlx.reshape({batch, length, features})
  end

  defp first_whole(%Array{shape: {batch, _length, features}} = share) do
    Mlx.put_slice(share, [0, 0, 0], Mlx.ones({batch, 1, features}, type: share.type))
  end
end
