defmodule Mlx.LM.Decoder.FeatureDelta do
  @moduledoc """
  Linear attention by the delta rule, in which each feature of a key decays by itself (Kimi Delta Attention):

      q, k, v = silu(q_conv(q_proj(x))), silu(k_conv(k_proj(x))), silu(v_conv(v_proj(x)))
      decay = -exp(A_log) * softplus(f_b_proj(f_a_proj(x)) + dt_bias)
      y = o_proj(o_norm(delta rule(unit(q), unit(k), v, exp(decay), sigmoid(b_proj(x)))) * sigmoid(g_b_proj(g_a_proj(x))))

  In some models `f_proj` or `g_proj` is in the place of two matrices, and decays have a bound:

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

  defstruct [
              :qkv_proj,
              :qkv_conv,
              :q_proj,
              :k_proj,
              :v_proj,
              :q_conv,
              :k_conv,
              :v_conv,
              :f_a_proj,
              :f_b_proj,
              :b_proj,
              :g_a_proj,
              :g_b_proj
            ] ++
              [:f_proj, :g_proj, :A_log, :dt_bias, :o_norm, :o_proj, :heads, :size, :bound]

  @type t :: %__MODULE__{}

  @doc """
  A mixer with zeros for arrays.

  Options:

    * `:width` - the features of the stream
    * `:heads`, `:size` - of queries, keys and values alike
    * `:kernel` - how many positions the convolutions see
    * `:eps` - of the normalisation of the outputs
    * `:joined` - whether a file holds the three first matrices as one, and their convolutions, default false
    * `:whole` - which of the decays, `:f`, and the gate, `:g`, have one matrix, default `[]`
    * `:rates` - the shape of `A_log`, default `{heads}`
    * `:bound` - the least decay, default `nil`
  """
  @impl true
  @spec new(keyword()) :: t()
  def new(options) do
    sizes = [width: nil, heads: nil, size: nil, kernel: nil, eps: nil]

    [width, heads, size, kernel, eps, joined, whole, rates, bound] =
      Options.without_stream(
        options,
        :"LM.Decoder.FeatureDelta.new",
        sizes ++ [joined: false, whole: [], rates: nil, bound: nil]
      )

    features = heads * size

    %__MODULE__{
      b_proj: Parameter.linear(width, heads),
      A_log: Parameter.zeros(rates || {heads}),
      dt_bias: Parameter.zeros({features}),
      o_norm: Parameter.norm({:rms, eps}, size),
      o_proj: Parameter.linear(features, width),
      heads: heads,
      size: size,
      bound: bound
    }
    |> struct!(matrix(:f in whole, {:f_proj, :f_a_proj, :f_b_proj}, width, size, features))
    |> struct!(matrix(:g in whole, {:g_proj, :g_a_proj, :g_b_proj}, width, size, features))
    |> struct!(inputs(joined, width, features, kernel))
  end

  defp inputs(true, width, features, kernel) do
    [qkv_proj: Parameter.linear(width, 3 * features), qkv_conv: TimeConvolution.new(3 * features, kernel, false)]
  end

  defp inputs(false, width, features, kernel) do
    for(name <- [:q_proj, :k_proj, :v_proj], do: {name, Parameter.linear(width, features)}) ++
      for name <- [:q_conv, :k_conv, :v_conv], do: {name, TimeConvolution.new(features, kernel, false)}
  end

  defp matrix(true, {whole, _first, _second}, width, _size, features), do: [{whole, Parameter.linear(width, features)}]

  defp matrix(false, {_whole, first, second}, width, size, features) do
    [{first, Parameter.linear(width, size)}, {second, Parameter.linear(size, features)}]
  end

  @impl true
  def cache(%__MODULE__{}), do: StateCache.new()

  @impl true
  def call(%__MODULE__{} = mixer, %Array{shape: {batch, length, _width}} = x, cache, step) do
    {state, before} = if cache.state, do: List.pop_at(Tuple.to_list(cache.state), -1), else: {nil, nil}
    {inputs, before} = convolved(mixer, x, before)
    [queries, keys, values] = for input <- inputs, do: in_heads(mixer, Activation.call("silu", input))
    queries = Mlx.multiply(unit(queries), 1 / :math.sqrt(mixer.size))
    keys = unit(keys)
    decays = decays(mixer, x)
    taken = Mlx.multiply(Mlx.new_axis(Mlx.sigmoid(NN.Layer.call(mixer.b_proj, x)), -1), keys)
    changes = {Mlx.multiply(Mlx.exp(decays), keys), Mlx.negate(taken)}
    {y, state} = DeltaSum.call(queries, taken, values, changes, decays, state, :unbounded)
    gate = in_heads(mixer, low(mixer.g_proj, mixer.g_a_proj, mixer.g_b_proj, x))
    y = Mlx.multiply(NN.Layer.call(mixer.o_norm, Mlx.as_type(y, x.type)), Mlx.sigmoid(gate))
    y = NN.Layer.call(mixer.o_proj, Mlx.reshape(y, {batch, length, mixer.heads * mixer.size}))
    {y, StateCache.put(cache, List.to_tuple(before ++ [state]), length), step}
  end

  # Queries, keys and values, and the inputs that the next ones see.
  defp convolved(%__MODULE__{qkv_proj: nil} = mixer, x, before) do
    [{mixer.q_proj, mixer.q_conv}, {mixer.k_proj, mixer.k_conv}, {mixer.v_proj, mixer.v_conv}]
    |> Enum.zip_with(before || [nil, nil, nil], fn {matrix, kernel}, before ->
      TimeConvolution.call(kernel, NN.Layer.call(matrix, x), before)
    end)
    |> Enum.unzip()
  end

  defp convolved(%__MODULE__{qkv_proj: matrix, qkv_conv: kernel}, x, before) do
    {all, before} = TimeConvolution.call(kernel, NN.Layer.call(matrix, x), before && hd(before))
    {Mlx.split(all, 3, axis: -1), [before]}
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
