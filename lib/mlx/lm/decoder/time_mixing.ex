defmodule Mlx.LM.Decoder.TimeMixing do
  @moduledoc """
  The recurrent part of RWKV 7. Each of its inputs is a mixture of a position and the one before:

      r, k, v = r_proj(mixed), k_proj(mixed), v_proj(mixed)
      v = v + sigmoid(v_lora(mixed)) * (v of the first layer - v)
      unit = k * k_k, with the length 1
      rate = sigmoid(a_lora(mixed))
      k = k * (1 + (rate - 1) * k_a)
      decay = exp(-0.606531 * sigmoid(w_lora(mixed)))
      state = state (diag(decay) - unit (rate * unit)ᵀ) + v kᵀ         at each step
      y = o_proj((g_norm(state r) + sum(r * k * r_k) v) * g_lora(mixed))

  Its cache keeps the last input, and the state. The first layer leaves its values to the others.

  Source: Peng et al., "RWKV-7 Goose with Expressive Dynamic State Evolution" (2025).
  """

  @behaviour Mlx.LM.Decoder.Mixer

  alias Mlx.{Array, NN}
  alias Mlx.Arguments.Options
  alias Mlx.LM.StateCache
  alias Mlx.LM.Decoder.{DeltaSum, LowRank, Parameter, TokenShift}

  @rate -0.606531
  @shortest 1.0e-7
  @eps 64.0e-5

  @mixtures [:x_r, :x_w, :x_k, :x_v, :x_a, :x_g]

  defmodule HeadNorm do
    @moduledoc false
    # Layer normalisation of heads, each with its weight and its bias.

    alias Mlx.{Array, Fast}

    @derive Mlx.NN.Layer
    @enforce_keys [:weight, :bias, :eps]
    defstruct @enforce_keys

    @spec call(struct(), Array.t()) :: Array.t()
    def call(%__MODULE__{weight: weight, bias: bias, eps: eps}, x) do
      Mlx.add(Mlx.multiply(weight, Fast.layer_norm(x, nil, nil, eps: eps)), bias)
    end
  end

  defstruct @mixtures ++
              [:r_proj, :k_proj, :v_proj, :o_proj, :k_k, :k_a, :r_k, :g_norm] ++
              [:w_lora, :a_lora, :v_lora, :g_lora, :heads, :head_size]

  @type t :: %__MODULE__{}

  @doc """
  A mixer with zeros for arrays.

  Options:

    * `:width`, `:head_size` - sizes
    * `:decay_rank`, `:rate_rank`, `:value_rank`, `:gate_rank` - the features inside of `w_lora`, `a_lora`, `v_lora` and
      `g_lora`
    * `:first` - whether it is that of the first layer, which has no `v_lora`; default false
  """
  @impl true
  @spec new(keyword()) :: t()
  def new(options) do
    defaults = [
      width: nil,
      head_size: nil,
      decay_rank: nil,
      rate_rank: nil,
      value_rank: nil,
      gate_rank: nil,
      first: false
    ]

    [width, size, decay_rank, rate_rank, value_rank, gate_rank, first] =
      Options.without_stream(options, :"LM.Decoder.TimeMixing.new", defaults)

    if rem(width, size) != 0 do
      raise Mlx.Error, message: "the configuration asks for heads of #{size} features, which do not divide #{width}"
    end

    heads = {div(width, size), size}

    __MODULE__
    |> struct!(for name <- @mixtures, do: {name, Parameter.zeros({1, 1, width})})
    |> struct!(for name <- [:r_proj, :k_proj, :v_proj, :o_proj], do: {name, Parameter.linear(width, width)})
    |> struct!(for name <- [:k_k, :k_a, :r_k], do: {name, Parameter.zeros(heads)})
    |> struct!(
      g_norm: %HeadNorm{weight: Parameter.zeros(heads), bias: Parameter.zeros(heads), eps: @eps},
      w_lora: LowRank.new(width, decay_rank, true, :tanh),
      a_lora: LowRank.new(width, rate_rank, true, :none),
      v_lora: if(not first, do: LowRank.new(width, value_rank, true, :none)),
      g_lora: LowRank.new(width, gate_rank, false, :sigmoid),
      heads: elem(heads, 0),
      head_size: size
    )
  end

  @impl true
  def cache(%__MODULE__{}), do: StateCache.new()

  @impl true
  def call(%__MODULE__{} = mixer, %Array{shape: {batch, length, width}} = x, cache, step) do
    {last, state} = cache.state || {nil, nil}
    {before, last} = TokenShift.call(x, last)
    change = Mlx.subtract(before, x)
    [r, w, k, v, a, g] = for name <- @mixtures, do: Mlx.add(x, Mlx.multiply(change, Map.fetch!(mixer, name)))
    {values, step} = values(mixer, v, step)
    queries = in_heads(mixer, NN.Layer.call(mixer.r_proj, r))
    keys = in_heads(mixer, NN.Layer.call(mixer.k_proj, k))
    rates = in_heads(mixer, Mlx.sigmoid(NN.Layer.call(mixer.a_lora, a)))
    decays = Mlx.multiply(Mlx.sigmoid(NN.Layer.call(mixer.w_lora, w)), @rate)
    unit = unit(Mlx.multiply(keys, mixer.k_k))
    keys = Mlx.multiply(keys, Mlx.add(Mlx.multiply(Mlx.subtract(rates, 1), mixer.k_a), 1))
    changes = {Mlx.negate(unit), Mlx.multiply(unit, rates)}
    {y, state} = DeltaSum.call(queries, keys, values, changes, in_heads(mixer, decays), state)
    own = Mlx.sum(Mlx.multiply(Mlx.multiply(queries, keys), mixer.r_k), axes: [-1], keep_axes: true)
    y = Mlx.add(NN.Layer.call(mixer.g_norm, Mlx.as_type(y, x.type)), Mlx.multiply(own, values))
    y = Mlx.multiply(Mlx.reshape(y, {batch, length, width}), NN.Layer.call(mixer.g_lora, g))
    {NN.Layer.call(mixer.o_proj, y), StateCache.put(cache, {last, state}, length), step}
  end

  defp values(%__MODULE__{v_lora: nil} = mixer, x, step) do
    values = in_heads(mixer, NN.Layer.call(mixer.v_proj, x))
    {values, Map.put(step, :first_values, values)}
  end

  defp values(mixer, x, %{first_values: first} = step) do
    values = in_heads(mixer, NN.Layer.call(mixer.v_proj, x))
    share = in_heads(mixer, Mlx.sigmoid(NN.Layer.call(mixer.v_lora, x)))
    {Mlx.add(values, Mlx.multiply(Mlx.subtract(first, values), share)), step}
  end

  defp in_heads(%__MODULE__{heads: heads, head_size: size}, %Array{shape: {batch, length, _}} = x) do
    Mlx.reshape(x, {batch, length, heads, size})
  end

  defp unit(x) do
    length = x |> Mlx.square() |> Mlx.sum(axes: [-1], keep_axes: true) |> Mlx.sqrt()
    Mlx.divide(x, Mlx.max(length, @shortest))
  end
end
