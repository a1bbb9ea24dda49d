defmodule Mlx.LM.Decoder.FeatureDelta do
  @moduledoc """
  Linear attention by the delta rule, in which each feature of a key decays by itself (Kimi Delta Attention):

      q, k, v = silu(q_conv(q_proj(x))), silu(k_conv(k_proj(x))), silu(v_conv(v_proj(x)))
      decay = -exp(A_log) * softplus(f_b_proj(f_a_proj(x)) + dt_bias)
      y = o_proj(o_norm(delta rule(unit(q), unit(k), v, exp(decay), sigmoid(b_proj(x)))) * sigmoid(g_b_proj(g_a_proj(x))))

  In some models `f_proj` and `g_proj` are in the place of two matrices each, and decays have a bound:

      decay = bound * sigmoid(exp(A_log) * (f_proj(x) + dt_bias))

  Its cache keeps the last inputs of the three convolutions, and the state.

  Source: Kimi Team, "Kimi Linear" (2025).
  """

  @behaviour Mlx.LM.Decoder.Mixer

  alias Mlx.{Array, Fast, NN}
  alias Mlx.Arguments.Options
  alias Mlx.LM.{Activation, StateCache}
  alias Mlx.LM.Decoder.{DeltaSum, Parameter, TimeConvolution}
  alias Mlx.NN.Activations

  @smallest 1.0e-6

  defstruct [:q_proj, :k_proj, :v_proj, :q_conv, :k_conv, :v_conv, :f_a_proj, :f_b_proj, :b_proj, :g_a_proj, :g_b_proj] ++
              [:f_proj, :g_proj, :A_log, :dt_bias, :o_norm, :o_proj, :heads, :size, :bound]

  @type t :: %__MODULE__{}

  @doc """
  A mixer with zeros for arrays.

  Options:

    * `:width` - the features of the stream
    * `:heads`, `:size` - of queries, keys and values alike
    * `:kernel` - how many positions the convolutions see
    * `:eps` - of the normalisation of the outputs
    * `:whole` - whether the decays and the gate have one matrix each, default false
    * `:bound` - the least decay, default `nil`
  """
  @impl true
  @spec new(keyword()) :: t()
  def new(options) do
    defaults = [width: nil, heads: nil, size: nil, kernel: nil, eps: nil, whole: false, bound: nil]

    [width, heads, size, kernel, eps, whole, bound] =
      Options.without_stream(options, :"LM.Decoder.FeatureDelta.new", defaults)

    features = heads * size

    %__MODULE__{
      b_proj: Parameter.linear(width, heads),
      A_log: Parameter.zeros(if(whole, do: {heads}, else: {1, 1, heads, 1})),
      dt_bias: Parameter.zeros({features}),
      o_norm: Parameter.norm({:rms, eps}, size),
      o_proj: Parameter.linear(features, width),
      heads: heads,
      size: size,
      bound: bound
    }
    |> struct!(matrices(whole, width, size, features))
    |> struct!(for name <- [:q_proj, :k_proj, :v_proj], do: {name, Parameter.linear(width, features)})
    |> struct!(for name <- [:q_conv, :k_conv, :v_conv], do: {name, TimeConvolution.new(features, kernel, false)})
  end

  defp matrices(true, width, _size, features) do
    for name <- [:f_proj, :g_proj], do: {name, Parameter.linear(width, features)}
  end

  defp matrices(false, width, size, features) do
    for(name <- [:f_a_proj, :g_a_proj], do: {name, Parameter.linear(width, size)}) ++
      for name <- [:f_b_proj, :g_b_proj], do: {name, Parameter.linear(size, features)}
  end

  @impl true
  def cache(%__MODULE__{}), do: StateCache.new()

  @impl true
  def call(%__MODULE__{} = mixer, %Array{shape: {batch, length, _width}} = x, cache, step) do
    {of_queries, of_keys, of_values, state} = cache.state || {nil, nil, nil, nil}
    {queries, of_queries} = convolved(mixer, mixer.q_proj, mixer.q_conv, x, of_queries)
    {keys, of_keys} = convolved(mixer, mixer.k_proj, mixer.k_conv, x, of_keys)
    {values, of_values} = convolved(mixer, mixer.v_proj, mixer.v_conv, x, of_values)
    queries = Mlx.multiply(unit(queries), 1 / :math.sqrt(mixer.size))
    keys = unit(keys)
    decays = decays(mixer, x)
    taken = Mlx.multiply(Mlx.new_axis(Mlx.sigmoid(NN.Layer.call(mixer.b_proj, x)), -1), keys)
    changes = {Mlx.multiply(Mlx.exp(decays), keys), Mlx.negate(taken)}
    {y, state} = DeltaSum.call(queries, taken, values, changes, decays, state, :unbounded)
    gate = in_heads(mixer, low(mixer.g_proj, mixer.g_a_proj, mixer.g_b_proj, x))
    y = Mlx.multiply(NN.Layer.call(mixer.o_norm, Mlx.as_type(y, x.type)), Mlx.sigmoid(gate))
    y = NN.Layer.call(mixer.o_proj, Mlx.reshape(y, {batch, length, mixer.heads * mixer.size}))
    {y, StateCache.put(cache, {of_queries, of_keys, of_values, state}, length), step}
  end

  defp convolved(mixer, matrix, kernel, x, before) do
    {y, before} = TimeConvolution.call(kernel, NN.Layer.call(matrix, x), before)
    {in_heads(mixer, Activation.call("silu", y)), before}
  end

  defp decays(%__MODULE__{heads: heads} = mixer, x) do
    rate = mixer.f_proj |> low(mixer.f_a_proj, mixer.f_b_proj, x) |> Mlx.as_type(:f32) |> Mlx.add(mixer.dt_bias)
    scale = mixer."A_log" |> Mlx.exp() |> Mlx.reshape({1, 1, heads, 1})
    decays(mixer.bound, in_heads(mixer, rate), scale)
  end

  defp decays(nil, rate, scale), do: Mlx.negate(Mlx.multiply(scale, Activations.softplus(rate)))
  defp decays(bound, rate, scale), do: Mlx.multiply(Mlx.sigmoid(Mlx.multiply(scale, rate)), bound)

  defp low(nil, first, second, x), do: NN.Layer.call(second, NN.Layer.call(first, x))
  defp low(whole, nil, nil, x), do: NN.Layer.call(whole, x)

  defp in_heads(%__MODULE__{heads: heads, size: size}, %Array{shape: {batch, length, _}} = x) do
    Mlx.reshape(x, {batch, length, heads, size})
  end

  # The mean of squares in place of their sum.
  defp unit(%Array{shape: {_, _, _, size}} = x) do
    x |> Fast.rms_norm(nil, eps: @smallest / size) |> Mlx.multiply(1 / :math.sqrt(size))
  end
end
