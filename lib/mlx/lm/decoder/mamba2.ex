defmodule Mlx.LM.Decoder.Mamba2 do
  @moduledoc """
  A state space whose state decays by one factor for each head:

      z, xbc, dt = in_proj(x)
      x, b, c = silu(conv1d(xbc))
      dt = clip(softplus(dt + dt_bias))
      state = exp(-exp(A_log) * dt) * state + dt * x bᵀ         at each step
      y = out_proj(norm(silu(z) * (state c + D * x)))

  Heads share `b` and `c` in groups. Its cache keeps the last inputs of the convolution, and the state.

  Source: Dao and Gu, "Transformers are SSMs" (2024).
  """

  @behaviour Mlx.LM.Decoder.Mixer

  alias Mlx.{Array, NN}
  alias Mlx.Arguments.Options
  alias Mlx.LM.StateCache
  alias Mlx.LM.Activation
  alias Mlx.LM.Decoder.{Parameter, StateSpace, TimeConvolution}

  @options [
    width: nil,
    heads: nil,
    size: nil,
    groups: nil,
    state: nil,
    kernel: nil,
    bias: false,
    output_bias: false,
    kernel_bias: false,
    times: {0.0, nil},
    norm: nil,
    norm_groups: 1,
    norm_first: false
  ]

  @constants [:heads, :size, :groups, :state, :times, :norm_first]

  defstruct [:in_proj, :conv1d, :dt_bias, :A_log, :D, :norm, :out_proj] ++ @constants

  @type t :: %__MODULE__{}

  @doc """
  A mixer with zeros for arrays.

  Options:

    * `:width` - the features of the stream
    * `:heads`, `:size` - the heads, and the features of each
    * `:groups`, `:state` - how many groups of heads share `b` and `c`, and the features of these
    * `:kernel` - how many positions the convolution sees
    * `:bias`, `:output_bias`, `:kernel_bias` - whether the two matrices and the convolution have biases, default false
    * `:times` - `{least, most}`, bounds of `dt`; `nil` for no bound; default `{0.0, nil}`
    * `:norm` - the epsilon of the normalisation of the outputs, default `nil` for none
    * `:norm_groups` - how many parts of the features are normalised by themselves, default 1
    * `:norm_first` - whether outputs are normalised before the gate, default false
  """
  @impl true
  @spec new(keyword()) :: t()
  def new(options) do
    options = options |> Options.complete(:"LM.Decoder.Mamba2.new", @options) |> Map.new()
    %{width: width, heads: heads, size: size, groups: groups, state: state} = options

    for {name, parts} <- [groups: heads, norm_groups: heads * size], rem(parts, Map.fetch!(options, name)) != 0 do
      raise Mlx.Error,
        message: "the configuration asks for #{Map.fetch!(options, name)} groups, which do not divide #{parts}"
    end

    mixed = heads * size + 2 * groups * state

    __MODULE__
    |> struct!(
      in_proj: Parameter.linear(width, heads * size + mixed + heads, options.bias),
      conv1d: TimeConvolution.new(mixed, options.kernel, options.kernel_bias),
      dt_bias: Parameter.zeros({heads}),
      A_log: Parameter.zeros({heads}),
      D: Parameter.zeros({heads}),
      out_proj: Parameter.linear(heads * size, width, options.output_bias)
    )
    |> struct!(Map.take(options, @constants))
    |> struct!(norm: options.norm && Parameter.group_norm(options.norm, options.norm_groups, heads * size))
  end

  @impl true
  def cache(%__MODULE__{}), do: StateCache.new()

  @impl true
  def call(%__MODULE__{} = mixer, %Array{shape: {batch, length, _width}} = x, cache, step) do
    %{heads: heads, size: size, groups: groups, state: features} = mixer
    {convolution, state} = cache.state || {nil, nil}
    {inner, shared} = {heads * size, groups * features}
    [z, mixed, dt] = mixer.in_proj |> NN.Layer.call(x) |> Mlx.split([inner, 2 * inner + 2 * shared], axis: -1)
    {mixed, convolution} = TimeConvolution.call(mixer.conv1d, mixed, convolution)
    [x, b, c] = "silu" |> Activation.call(mixed) |> Mlx.split([inner, inner + shared], axis: -1)
    x = Mlx.reshape(x, {batch, length, heads, size})
    [b, c] = for part <- [b, c], do: Mlx.reshape(part, {batch, length, groups, features})
    {y, state} = StateSpace.call({x, b, c}, StateSpace.times(dt, mixer.dt_bias, mixer.times), mixer, state)
    y = NN.Layer.call(mixer.out_proj, gated(mixer, Mlx.reshape(y, {batch, length, inner}), z))
    {y, StateCache.put(cache, {convolution, state}, length), step}
  end

  defp gated(%__MODULE__{norm: nil}, y, z), do: Activation.gate("silu", z, y)
  defp gated(%__MODULE__{norm_first: true, norm: norm}, y, z), do: Activation.gate("silu", z, NN.Layer.call(norm, y))
  defp gated(%__MODULE__{norm: norm}, y, z), do: NN.Layer.call(norm, Activation.gate("silu", z, y))
end
