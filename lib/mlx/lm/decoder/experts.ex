defmodule Mlx.LM.Decoder.Experts do
  @moduledoc """
  A feed-forward layer of several experts, of which each token takes a few, with or without one that all take:

      scores, chosen = the `top` experts by gate(x)
      y = sum of scores * expert(x) + shared_expert(x)

  An expert is a gated feed-forward layer, or a plain one. All experts lie in the three or two stacks of matrices of
  `switch_mlp`. With `fc1_latent_proj` and `fc2_latent_proj` they have features of their own, between these two layers.
  """

  alias Mlx.{Array, NN}
  alias Mlx.Arguments.Options
  alias Mlx.LM.Decoder.{ExpertChoice, GatedFeedForward, Parameter, PlainFeedForward, SwitchFeedForward}

  @options [
    width: nil,
    experts: nil,
    top: nil,
    hidden: nil,
    scores: :softmax,
    normalize: false,
    scale: 1.0,
    correction: false,
    groups: nil,
    group_worth: :two_best,
    dropped: 0,
    gate_bias: false,
    bias: false,
    activation: "silu",
    weigh: :outputs,
    identities: 0,
    table: nil,
    logit_scale: nil,
    logit_cap: nil,
    jitter: 0.01,
    shared: nil,
    shared_bias: false,
    shared_joined: false,
    shared_gate: false,
    gated: true,
    latent: nil,
    latent_bias: false,
    norms: [],
    shared_mix: false,
    shared_activation: nil
  ]

  @constants [
    :top,
    :scores,
    :normalize,
    :scale,
    :groups,
    :group_worth,
    :dropped,
    :logit_scale,
    :logit_cap,
    :jitter,
    :weigh,
    :experts,
    :identities
  ]

  @derive NN.Layer
  defstruct [:gate, :e_score_correction_bias, :switch_mlp, :shared_expert, :shared_expert_gate, :shared_mix] ++
              [:fc1_latent_proj, :fc2_latent_proj, :norms, :tid2eid] ++ @constants

  @type t :: %__MODULE__{}

  @doc """
  A layer with zeros for arrays.

  Options:

    * `:width`, `:experts`, `:top`, `:hidden` - sizes: the features, the experts, those that a token takes, and the hidden
      features of one
    * `:identities` - how many further choices there are that give `x` itself, default 0
    * `:table` - for how many tokens a table says which experts they take, in place of the gate, default `nil`
    * `:weigh` - what the scores multiply: `:outputs` of the experts (default), or their `:inputs`, for `:top` 1
    * `:scores` - `:softmax` over all experts, `:softmax_of_chosen` or `:sigmoid_of_chosen` over the chosen ones, `:sigmoid`,
      `:sqrt_softplus`, or `:sparse_mixer`: for each choice a softmax of those that are left and close to the best
    * `:logit_scale` - a factor of what the gate gives, default `nil`
    * `:logit_cap` - what the gate gives becomes `cap * tanh(logit / cap)`, default `nil`
    * `:jitter` - how close that is, default 0.01
    * `:normalize` - whether the scores of the chosen experts are divided by their sum, default false
    * `:scale` - a factor of the scores, default 1.0
    * `:correction` - whether there is a bias that counts for the choice and not for the scores, default false
    * `:groups` - `{groups, kept}`: only experts of the best groups are chosen, default `nil`
    * `:group_worth` - how good a group is: `:two_best`, its two best experts together (default), or `:best`, its best one
    * `:dropped` - what counts for the choice of experts of other groups, 0 (default) or `:neg_infinity`
    * `:gate_bias`, `:bias` - whether the gate and the experts have biases, default false
    * `:activation` - default `"silu"`
    * `:shared` - the hidden features of the expert that all take, default `nil` for none
    * `:shared_bias`, `:shared_gate` - whether that one has biases, and a gate; default false
    * `:shared_joined` - whether a file holds its gate and the other factor as one matrix, default false
    * `:gated` - whether experts are gated, default true
    * `:latent` - the features of the inputs and outputs of experts, default `nil` for those of the stream
    * `:latent_bias` - whether the two layers between these have biases, default false
    * `:norms` - normalisations such as `{:rms, 1.0e-6}` of these features: `:input`, of the inputs of experts, `:each`, of the
      outputs of each of them, and `:sum`, of their sum; a keyword list, default `[]`
    * `:shared_mix` - whether a softmax of two numbers says how much of the experts and of that one there is, default false
    * `:shared_activation` - that of the shared one, by default the same
  """
  @spec new(keyword()) :: t()
  def new(options) do
    options = options |> Options.complete(:"LM.Decoder.Experts.new", @options) |> Map.new()
    %{width: width, experts: experts, shared: shared, latent: latent, gated: gated} = options
    inner = latent || width
    check!(options)

    layers = [
      gate: Parameter.linear(width, experts + options.identities, options.gate_bias),
      e_score_correction_bias: if(options.correction, do: Mlx.zeros({experts + options.identities})),
      tid2eid: options.table && Parameter.zeros({options.table, options.top}),
      switch_mlp: SwitchFeedForward.new(inner, options.hidden, experts, options.bias, options.activation, gated),
      fc1_latent_proj: if(latent, do: Parameter.linear(width, latent, options.latent_bias)),
      fc2_latent_proj: if(latent, do: Parameter.linear(latent, width, options.latent_bias)),
      norms: for({place, norm} <- options.norms, into: %{}, do: {place, Parameter.norm(norm, inner)}),
      shared_expert: if(shared, do: shared_expert(options)),
      shared_expert_gate: if(options.shared_gate, do: Parameter.linear(width, 1)),
      shared_mix: if(options.shared_mix, do: Parameter.linear(width, 2, true))
    ]

    __MODULE__ |> struct!(layers) |> struct!(Map.take(options, @constants))
  end

  defp check!(%{weigh: :inputs, top: top}) when top != 1 do
    raise Mlx.Error, message: "the configuration chooses #{top} experts, whose inputs are weighed, expected 1"
  end

  defp check!(%{experts: experts, top: top, groups: groups}) do
    if top > experts, do: raise(Mlx.Error, message: "the configuration chooses #{top} of #{experts} experts")

    with {count, kept} <- groups do
      if rem(experts, count) != 0 or kept > count or (count > 1 and div(experts, count) < 2) do
        raise Mlx.Error,
          message:
            "the configuration chooses #{kept} of #{count} groups of #{experts} experts, which have two or more each"
      end
    end
  end

  defp shared_expert(%{gated: gated} = options) do
    activation = options.shared_activation || options.activation
    own = [width: options.width, hidden: options.shared, bias: options.shared_bias, activation: activation]
    if gated, do: GatedFeedForward.new(own ++ [joined: options.shared_joined]), else: PlainFeedForward.new(own)
  end

  @doc "The outputs for `x`, `{batch, length, width}`. A layer with a table needs the tokens `{batch, length}`."
  @spec call(t(), Array.t(), Array.t() | nil) :: Array.t()
  def call(%__MODULE__{} = layer, x, ids \\ nil) do
    {scores, chosen} = ExpertChoice.call(layer, NN.Layer.call(layer.gate, x), ids)
    inputs = normalized(layer, :input, passed(layer.fc1_latent_proj, x))
    y = normalized(layer, :sum, taken(layer, inputs, scores, chosen))
    with_shared(layer, passed(layer.fc2_latent_proj, y), x)
  end

  defp taken(%__MODULE__{weigh: :inputs} = layer, x, scores, chosen) do
    x = Mlx.multiply(x, Mlx.as_type(scores, x.type))
    layer.switch_mlp |> SwitchFeedForward.call(x, chosen) |> Mlx.squeeze(axes: [-2])
  end

  defp taken(%__MODULE__{identities: 0} = layer, x, scores, chosen) do
    y = normalized(layer, :each, SwitchFeedForward.call(layer.switch_mlp, x, chosen))
    y |> Mlx.multiply(Mlx.new_axis(scores, -1)) |> Mlx.sum(axes: [-2]) |> Mlx.as_type(x.type)
  end

  defp taken(%__MODULE__{experts: experts} = layer, x, scores, chosen) do
    expert? = Mlx.less(chosen, experts)
    y = taken(%{layer | identities: 0}, x, Mlx.select(expert?, scores, 0), Mlx.select(expert?, chosen, 0))
    kept = Mlx.sum(Mlx.select(expert?, 0, scores), axes: [-1], keep_axes: true)
    Mlx.add(y, Mlx.as_type(Mlx.multiply(x, kept), x.type))
  end

  defp normalized(%__MODULE__{norms: norms}, place, x), do: passed(norms[place], x)

  defp passed(nil, x), do: x
  defp passed(layer, x), do: NN.Layer.call(layer, x)

  defp with_shared(%__MODULE__{shared_expert: nil}, y, _x), do: y

  defp with_shared(%__MODULE__{shared_expert: shared, shared_mix: %{} = mix}, y, x) do
    [own, all] = mix |> NN.Layer.call(x) |> Mlx.softmax(axes: -1, precise: true) |> Mlx.split(2, axis: -1)
    Mlx.add(Mlx.multiply(y, own), Mlx.multiply(GatedFeedForward.call(shared, x), all))
  end

  defp with_shared(%__MODULE__{shared_expert: shared, shared_expert_gate: nil}, y, x) do
    Mlx.add(y, NN.Layer.call(shared, x))
  end

  defp with_shared(%__MODULE__{shared_expert: shared, shared_expert_gate: gate}, y, x) do
    Mlx.add(y, Mlx.multiply(Mlx.sigmoid(NN.Layer.call(gate, x)), NN.Layer.call(shared, x)))
  end

  @doc "The layer with joined matrices of the shared expert, where they can be."
  @spec join(t()) :: t()
  def join(%__MODULE__{shared_expert: %GatedFeedForward{} = shared} = layer) do
    %{layer | shared_expert: GatedFeedForward.join(shared)}
  end

  def join(layer), do: layer
end
