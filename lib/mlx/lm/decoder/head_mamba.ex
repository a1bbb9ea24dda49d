defmodule Mlx.LM.Decoder.HeadMamba do
  @moduledoc """
  A state space with one decay for each head, as `Mlx.LM.Decoder.Mamba2`, whose `b`, `c` and `dt` are computed after the
  convolution, as in `Mlx.LM.Decoder.Mamba`:

      z, x = in_proj(x)                                  head by head
      x = silu(conv1d(x))
      b, c, dt = norms(bcdt_proj(x))
      dt = clip(softplus(dt_proj(dt) + dt_bias))
      y = out_proj(silu(z) * (state c + D * x))

  Its cache keeps the last inputs of the convolution, and the state. It is that of PLaMo 2.
  """

  @behaviour Mlx.LM.Decoder.Mixer

  alias Mlx.{Array, NN}
  alias Mlx.Arguments.Options
  alias Mlx.LM.StateCache
  alias Mlx.LM.Activation
  alias Mlx.LM.Decoder.{Parameter, StateSpace, TimeConvolution}

  @options [width: nil, heads: nil, size: nil, state: nil, rank: nil, kernel: nil, eps: nil, times: {0.0, nil}]
  @constants [:heads, :size, :state, :times]

  defstruct [:in_proj, :conv1d, :bcdt_proj, :dt_proj, :dt_norm, :b_norm, :c_norm, :dt_bias, :A_log, :D, :out_proj] ++
              @constants

  @type t :: %__MODULE__{}

  @doc """
  A mixer with zeros for arrays. Options are those of `Mlx.LM.Decoder.Mamba2.new/1`: `:width`, `:heads`, `:size`, `:state`,
  `:kernel` and `:times`; `:rank`, the features of `dt` before `dt_proj`; and `:eps`, that of the three normalisations.
  """
  @impl true
  @spec new(keyword()) :: t()
  def new(options) do
    options = options |> Options.complete(:"LM.Decoder.HeadMamba.new", @options) |> Map.new()
    %{width: width, heads: heads, size: size, state: state, rank: rank, eps: eps} = options

    __MODULE__
    |> struct!(
      in_proj: Parameter.linear(width, 2 * heads * size),
      conv1d: TimeConvolution.new(heads * size, options.kernel, false),
      bcdt_proj: Parameter.linear(heads * size, 2 * state + rank),
      dt_proj: Parameter.linear(rank, heads),
      dt_norm: Parameter.norm({:rms, eps}, rank),
      b_norm: Parameter.norm({:rms, eps}, state),
      c_norm: Parameter.norm({:rms, eps}, state),
      dt_bias: Parameter.zeros({heads}),
      A_log: Parameter.zeros({heads}),
      D: Parameter.zeros({heads}),
      out_proj: Parameter.linear(heads * size, width)
    )
    |> struct!(Map.take(options, @constants))
  end

  @impl true
  def cache(%__MODULE__{}), do: StateCache.new()

  @impl true
  def call(%__MODULE__{} = mixer, %Array{shape: {batch, length, _width}} = x, cache, step) do
    %{heads: heads, size: size, state: features} = mixer
    {convolution, state} = cache.state || {nil, nil}
    both = mixer.in_proj |> NN.Layer.call(x) |> Mlx.reshape({batch, length, heads, 2 * size})
    [z, x] = for part <- Mlx.split(both, 2, axis: -1), do: Mlx.reshape(part, {batch, length, heads * size})
    {x, convolution} = TimeConvolution.call(mixer.conv1d, x, convolution)
    x = Activation.call("silu", x)
    [b, c, dt] = mixer.bcdt_proj |> NN.Layer.call(x) |> Mlx.split([features, 2 * features], axis: -1)
    [b, c] = for {norm, part} <- [{mixer.b_norm, b}, {mixer.c_norm, c}], do: Mlx.new_axis(NN.Layer.call(norm, part), 2)
    dt = NN.Layer.call(mixer.dt_proj, NN.Layer.call(mixer.dt_norm, dt))
    x = Mlx.reshape(x, {batch, length, heads, size})
    {y, state} = StateSpace.call({x, b, c}, StateSpace.times(dt, mixer.dt_bias, mixer.times), mixer, state)
    y = Activation.gate("silu", z, Mlx.reshape(y, {batch, length, heads * size}))
    {NN.Layer.call(mixer.out_proj, y), StateCache.put(cache, {convolution, state}, length), step}
  end
end
