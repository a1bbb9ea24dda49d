defmodule Mlx.LM.Decoder.DecayedAttention do
  @moduledoc """
  Linear attention whose state decays by a constant factor for each head:

      q, k, v = qkv_proj(x)
      state = exp(-decay) * state + rotate(k) vᵀ         at each step
      y = o_proj(g_norm(scale * rotate(q) state) * sigmoid(g_proj(x)))

  Its cache keeps the state.

  Source: Qin et al., "Lightning Attention-2" (2024).
  """

  @behaviour Mlx.LM.Decoder.Mixer

  alias Mlx.{Array, NN}
  alias Mlx.Arguments.Options
  alias Mlx.LM.StateCache
  alias Mlx.LM.Decoder.{DecayedSum, Parameter, RoPE}

  @options [
    width: nil,
    heads: nil,
    head_size: nil,
    bias: false,
    output_bias: false,
    norm: nil,
    rope: nil,
    decays: nil,
    eps: nil,
    norm_groups: 1
  ]

  @constants [:heads, :head_size, :rope, :decays]

  defstruct [:qkv_proj, :o_proj, :q_norm, :k_norm, :g_proj, :g_norm] ++ @constants

  @type t :: %__MODULE__{}

  @doc """
  A mixer with zeros for arrays.

  Options:

    * `:width`, `:heads`, `:head_size` - sizes
    * `:bias`, `:output_bias` - whether q, k and v, and the output, have biases; default false
    * `:norm` - the normalisation of the heads of queries and keys, such as `{:rms, 1.0e-6}`, default `nil`
    * `:rope` - an `Mlx.LM.Decoder.RoPE`
    * `:decays` - a number for each head, at least 0
    * `:eps`, `:norm_groups` - of the normalisation of the outputs, and in how many parts it is done
  """
  @impl true
  @spec new(keyword()) :: t()
  def new(options) do
    options = options |> Options.complete(:"LM.Decoder.DecayedAttention.new", @options) |> Map.new()
    %{width: width, heads: heads, head_size: size} = options

    __MODULE__
    |> struct!(
      qkv_proj: Parameter.linear(width, 3 * heads * size, options.bias),
      o_proj: Parameter.linear(heads * size, width, options.output_bias),
      q_norm: options.norm && Parameter.norm(options.norm, size),
      k_norm: options.norm && Parameter.norm(options.norm, size),
      g_proj: Parameter.linear(width, heads * size),
      g_norm: Parameter.group_norm(options.eps, options.norm_groups, heads * size)
    )
    |> struct!(Map.take(options, @constants))
  end

  @impl true
  def cache(%__MODULE__{}), do: StateCache.new()

  @impl true
  def call(%__MODULE__{heads: heads, head_size: size} = mixer, %Array{shape: {batch, length, _}} = x, cache, step) do
    {state} = cache.state || {nil}
    all = mixer.qkv_proj |> NN.Layer.call(x) |> Mlx.reshape({batch, length, 3 * heads, size})
    [queries, keys, values] = Mlx.split(all, 3, axis: 2)

    [queries, keys] =
      for {norm, x} <- [{mixer.q_norm, queries}, {mixer.k_norm, keys}], do: placed(mixer, norm, x, cache)

    decays = mixer.decays |> Enum.map(&(-&1)) |> Mlx.array(type: :f32) |> Mlx.reshape({1, 1, heads})
    {y, state} = DecayedSum.call(Mlx.multiply(queries, 1 / :math.sqrt(size)), keys, values, decays, state)
    y = y |> Mlx.as_type(x.type) |> Mlx.reshape({batch, length, heads * size})
    y = Mlx.multiply(NN.Layer.call(mixer.g_norm, y), Mlx.sigmoid(NN.Layer.call(mixer.g_proj, x)))
    {NN.Layer.call(mixer.o_proj, y), StateCache.put(cache, {state}, length), step}
  end

  # {batch, length, heads, features}, normalised and rotated.
  defp placed(mixer, norm, x, cache) do
    x = if norm, do: NN.Layer.call(norm, x), else: x
    mixer.rope |> RoPE.call(Mlx.swap_axes(x, 1, 2), cache.length) |> Mlx.swap_axes(1, 2)
  end
end
