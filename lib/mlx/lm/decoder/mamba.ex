defmodule Mlx.LM.Decoder.Mamba do
  @moduledoc """
  A selective state space, whose state decays for each feature and each of its states by itself:

      x, z = in_proj(x)
      x = silu(conv1d(x))
      dt, b, c = x_proj(x)
      dt = softplus(dt_proj(dt))
      state = exp(-exp(A_log) * dt) * state + dt * x bᵀ         at each step
      y = out_proj(silu(z) * (state c + D * x))

  Its cache keeps the last inputs of the convolution, and the state.

  Source: Gu and Dao, "Mamba: Linear-Time Sequence Modeling with Selective State Spaces" (2023).
  """

  @behaviour Mlx.LM.Decoder.Mixer

  alias Mlx.{Array, Fast, NN}
  alias Mlx.Arguments.Options
  alias Mlx.LM.StateCache
  alias Mlx.LM.Activation
  alias Mlx.LM.Decoder.{LinearScan, Parameter, TimeConvolution}
  alias Mlx.NN.Activations

  # The states of so many positions are in memory at once.
  @piece 128

  @options [
    width: nil,
    inner: nil,
    state: nil,
    rank: nil,
    kernel: nil,
    bias: false,
    kernel_bias: false,
    norms: nil
  ]

  defstruct [:in_proj, :conv1d, :x_proj, :dt_proj, :A_log, :D, :out_proj] ++
              [:dt_layernorm, :b_layernorm, :c_layernorm, :state, :rank, :eps]

  @type t :: %__MODULE__{}

  @doc """
  A mixer with zeros for arrays.

  Options:

    * `:width`, `:inner` - the features of the stream, and those inside
    * `:state` - how many states a feature has
    * `:rank` - the features of `dt` before `dt_proj`
    * `:kernel` - how many positions the convolution sees
    * `:bias`, `:kernel_bias` - whether the matrices of the stream, and the convolution, have biases; default false
    * `:norms` - `{:rms, eps}` when `dt`, `b` and `c` are normalised, `{:rms_without_weight, eps}` for no weights of these;
      default `nil`
  """
  @impl true
  @spec new(keyword()) :: t()
  def new(options) do
    options = options |> Options.complete(:"LM.Decoder.Mamba.new", @options) |> Map.new()
    %{width: width, inner: inner, state: state, rank: rank, bias: bias, norms: norms} = options

    %__MODULE__{
      in_proj: Parameter.linear(width, 2 * inner, bias),
      conv1d: TimeConvolution.new(inner, options.kernel, options.kernel_bias),
      x_proj: Parameter.linear(inner, rank + 2 * state),
      dt_proj: Parameter.linear(rank, inner, true),
      A_log: Parameter.zeros({inner, state}),
      D: Parameter.zeros({inner}),
      out_proj: Parameter.linear(inner, width, bias),
      dt_layernorm: norm(norms, rank),
      b_layernorm: norm(norms, state),
      c_layernorm: norm(norms, state),
      state: state,
      rank: rank,
      eps: norms && elem(norms, 1)
    }
  end

  defp norm({:rms, eps}, features), do: Parameter.norm({:rms, eps}, features)
  defp norm(_none, _features), do: nil

  @impl true
  def cache(%__MODULE__{}), do: StateCache.new()

  @impl true
  def call(%__MODULE__{rank: rank, state: features} = mixer, %Array{shape: {_, length, _}} = x, cache, step) do
    {convolution, state} = cache.state || {nil, nil}
    [x, z] = mixer.in_proj |> NN.Layer.call(x) |> Mlx.split(2, axis: -1)
    {x, convolution} = TimeConvolution.call(mixer.conv1d, x, convolution)
    x = Activation.call("silu", x)
    [dt, b, c] = mixer.x_proj |> NN.Layer.call(x) |> Mlx.split([rank, rank + features], axis: -1)

    [dt, b, c] =
      for {part, name} <- [{dt, :dt_layernorm}, {b, :b_layernorm}, {c, :c_layernorm}], do: normalized(mixer, name, part)

    dt = Activations.softplus(NN.Layer.call(mixer.dt_proj, dt))
    {y, state} = state_space(mixer, {x, dt, b, c}, state)
    y = Mlx.add(Mlx.as_type(y, x.type), Mlx.multiply(x, Mlx.as_type(mixer."D", x.type)))
    y = NN.Layer.call(mixer.out_proj, Activation.gate("silu", z, y))
    {y, StateCache.put(cache, {convolution, state}, length), step}
  end

  defp normalized(%__MODULE__{eps: nil}, _name, x), do: x
  defp normalized(%__MODULE__{dt_layernorm: nil, eps: eps}, _name, x), do: Fast.rms_norm(x, nil, eps: eps)
  defp normalized(mixer, name, x), do: NN.Layer.call(Map.fetch!(mixer, name), x)

  defp state_space(mixer, {%Array{shape: {_, length, _}} = x, dt, b, c}, state) do
    decay = Mlx.negate(Mlx.exp(mixer."A_log"))
    pieces = for part <- [dt, Mlx.multiply(dt, x), b, c], do: pieces(part, length)

    {outputs, state} =
      pieces
      |> Enum.zip_with(&List.to_tuple/1)
      |> Enum.map_reduce(state, fn {dt, x, b, c}, state ->
        factors = Mlx.exp(Mlx.multiply(Mlx.new_axis(dt, -1), decay))
        {states, state} = LinearScan.call(factors, Mlx.multiply(Mlx.new_axis(x, -1), Mlx.new_axis(b, -2)), state)
        {states |> Mlx.matmul(Mlx.new_axis(c, -1)) |> Mlx.squeeze(axes: [-1]), state}
      end)

    {Mlx.concatenate(outputs, axis: 1), state}
  end

  defp pieces(x, length) when length <= @piece, do: [x]
  defp pieces(x, length), do: Mlx.split(x, Enum.to_list(@piece..(length - 1)//@piece), axis: 1)
end
