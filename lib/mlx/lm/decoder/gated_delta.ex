defmodule Mlx.LM.Decoder.GatedDelta do
  @moduledoc """
  Linear attention by the gated delta rule, `Mlx.Fast.gated_delta_update/6`:

      q, k, v = silu(conv1d(in_proj_qkv(x)))
      z, b, a = in_proj_z(x), in_proj_b(x), in_proj_a(x)
      gate = exp(-exp(A_log) * softplus(a + dt_bias))
      y = out_proj(norm(delta rule(unit(q), unit(k), v, gate, sigmoid(b))) * silu(z))

  The matrices of `in_proj_qkv` and `in_proj_z` are in `in_proj_qkvz`, and those of `in_proj_b` and `in_proj_a` in
  `in_proj_ba`, when they are joined, in a file or by `join/1`. Its cache keeps the last inputs of the convolution, and
  the state.

  Source: Yang et al., "Gated Delta Networks" (2024).
  """

  @behaviour Mlx.LM.Decoder.Mixer

  alias Mlx.{Array, Fast, NN}
  alias Mlx.Arguments.Options
  alias Mlx.LM.StateCache
  alias Mlx.LM.Activation
  alias Mlx.LM.Decoder.{DeltaSum, Joined, Parameter, TimeConvolution}
  alias Mlx.NN.Activations

  @options [
    width: nil,
    heads: nil,
    size: nil,
    key_heads: nil,
    key_size: nil,
    kernel: nil,
    eps: nil,
    joined: false,
    negative: false
  ]

  @constants [:heads, :size, :key_heads, :key_size, :negative]
  @smallest 1.0e-6

  defstruct [:in_proj_qkv, :in_proj_z, :in_proj_b, :in_proj_a, :in_proj_qkvz, :in_proj_ba] ++
              [:conv1d, :A_log, :dt_bias, :norm, :out_proj] ++ @constants

  @type t :: %__MODULE__{}

  @doc """
  A mixer with zeros for arrays.

  Options:

    * `:width` - the features of the stream
    * `:heads`, `:size` - of the values
    * `:key_heads`, `:key_size` - of the queries and keys; the heads of values are a multiple of those
    * `:kernel` - how many positions the convolution sees
    * `:eps` - of the normalisation of the outputs
    * `:joined` - whether a file holds the joined matrices, default false
    * `:negative` - whether the delta rule has twice `sigmoid(b)`, so that it can turn a value around; default false
  """
  @impl true
  @spec new(keyword()) :: t()
  def new(options) do
    options = options |> Options.complete(:"LM.Decoder.GatedDelta.new", @options) |> Map.new()
    %{width: width, heads: heads, size: size, key_heads: key_heads, key_size: key_size} = options
    features = 2 * key_heads * key_size + heads * size

    matrices =
      if options.joined,
        do: [in_proj_qkvz: features + heads * size, in_proj_ba: 2 * heads],
        else: [in_proj_qkv: features, in_proj_z: heads * size, in_proj_b: heads, in_proj_a: heads]

    __MODULE__
    |> struct!(for {name, outputs} <- matrices, do: {name, Parameter.linear(width, outputs)})
    |> struct!(
      conv1d: TimeConvolution.new(features, options.kernel, false),
      A_log: Parameter.zeros({heads}),
      dt_bias: Parameter.zeros({heads}),
      norm: Parameter.norm({:rms, options.eps}, size),
      out_proj: Parameter.linear(heads * size, width)
    )
    |> struct!(Map.take(options, @constants))
  end

  @impl true
  def cache(%__MODULE__{}), do: StateCache.new()

  @impl true
  def call(%__MODULE__{} = mixer, %Array{shape: {batch, length, _width}} = x, cache, step) do
    {convolution, state} = cache.state || {nil, nil}
    {qkv, z, b, a} = projections(mixer, x)
    {qkv, convolution} = TimeConvolution.call(mixer.conv1d, qkv, convolution)
    {queries, keys, values} = heads(mixer, Activation.call("silu", qkv))
    rate = Activations.softplus(Mlx.add(a, mixer.dt_bias))
    decays = Mlx.negate(Mlx.multiply(Mlx.exp(mixer."A_log"), rate))
    beta = if mixer.negative, do: Mlx.multiply(Mlx.sigmoid(b), 2), else: Mlx.sigmoid(b)
    {y, state} = delta(queries, keys, values, decays, beta, state)
    y = Mlx.multiply(NN.Layer.call(mixer.norm, y), Activation.call("silu", Mlx.reshape(z, y.shape)))
    y = NN.Layer.call(mixer.out_proj, Mlx.reshape(y, {batch, length, mixer.heads * mixer.size}))
    {y, StateCache.put(cache, {convolution, state}, length), step}
  end

  # A GPU has a kernel. A CPU computes a sequence faster in chunks.
  defp delta(
         queries,
         %Array{shape: {_, length, key_heads, _}} = keys,
         %Array{shape: shape} = values,
         decays,
         beta,
         state
       ) do
    if length == 1 or Mlx.Device.default() != :cpu do
      Fast.gated_delta_update(queries, keys, values, Mlx.exp(decays), beta, state: state)
    else
      [queries, keys] = for x <- [queries, keys], do: Mlx.repeat(x, div(elem(shape, 2), key_heads), axis: 2)
      [decays, beta] = for x <- [decays, beta], do: Mlx.new_axis(x, -1)
      taken = Mlx.multiply(beta, keys)
      changes = {Mlx.multiply(Mlx.exp(decays), keys), Mlx.negate(taken)}
      {y, state} = DeltaSum.call(queries, taken, values, changes, decays, state)
      {Mlx.as_type(y, values.type), state}
    end
  end

  defp projections(%__MODULE__{in_proj_qkvz: nil} = mixer, x) do
    {NN.Layer.call(mixer.in_proj_qkv, x), NN.Layer.call(mixer.in_proj_z, x), NN.Layer.call(mixer.in_proj_b, x),
     NN.Layer.call(mixer.in_proj_a, x)}
  end

  defp projections(%__MODULE__{} = mixer, x) do
    [qkv, z] = mixer.in_proj_qkvz |> NN.Layer.call(x) |> Mlx.split([features(mixer)], axis: -1)
    [b, a] = mixer.in_proj_ba |> NN.Layer.call(x) |> Mlx.split(2, axis: -1)
    {qkv, z, b, a}
  end

  defp features(mixer), do: 2 * mixer.key_heads * mixer.key_size + mixer.heads * mixer.size

  defp heads(%__MODULE__{key_heads: key_heads, key_size: key_size} = mixer, %Array{shape: {batch, length, _}} = x) do
    keys = key_heads * key_size
    [queries, keys, values] = Mlx.split(x, [keys, 2 * keys], axis: -1)
    [queries, keys] = for part <- [queries, keys], do: unit(Mlx.reshape(part, {batch, length, key_heads, key_size}))
    queries = Mlx.multiply(queries, 1 / :math.sqrt(key_size))
    {queries, keys, Mlx.reshape(values, {batch, length, mixer.heads, mixer.size})}
  end

  # The mean of squares in place of their sum.
  defp unit(%Array{shape: {_, _, _, size}} = x) do
    x |> Fast.rms_norm(nil, eps: @smallest / size) |> Mlx.multiply(1 / :math.sqrt(size))
  end

  @impl true
  def join(%__MODULE__{in_proj_qkvz: nil} = mixer) do
    with %{} = large <- Joined.linear([mixer.in_proj_qkv, mixer.in_proj_z]),
         %{} = small <- Joined.linear([mixer.in_proj_b, mixer.in_proj_a]) do
      %{mixer | in_proj_qkv: nil, in_proj_z: nil, in_proj_b: nil, in_proj_a: nil}
      |> struct!(in_proj_qkvz: large, in_proj_ba: small)
    else
      nil -> mixer
    end
  end

  def join(mixer), do: mixer
end
