defmodule Mlx.LM.Decoder.AlternatingBlock do
  @moduledoc """
  A whole block of Gemma 3n, whose stream is several ones (`Mlx.LM.Decoder.Streams`):

      x = the active one of predict(streams);   n = input_layernorm(x)
      h = (x + post_attention_layernorm(self_attn(n)) + laurel(n)) / sqrt(2)
      y = h + post_feedforward_layernorm(mlp(pre_feedforward_layernorm(h)))
      streams = correct(predictions, y), of which all but the first get what the block's own input gives

  where `laurel(n) = n + norm(right(left(n)))` has few features between its matrices. It is a mixer, whose cache is that of
  its attention.

  Source: Menghani and others, "LAuReL: Learned Augmented Residual Layer" (2024).
  """

  @behaviour Mlx.LM.Decoder.Mixer

  alias Mlx.Arguments.Options
  alias Mlx.LM.Decoder.{AlternatingUpdates, Attention, GatedFeedForward, LayerInput, Parameter}
  alias Mlx.NN

  @norms [
    :input_layernorm,
    :post_attention_layernorm,
    :pre_feedforward_layernorm,
    :post_feedforward_layernorm,
    :post_per_layer_input_norm
  ]

  defstruct [:altup, :laurel, :self_attn, :mlp, :per_layer_input, :scaled] ++ @norms

  @type t :: %__MODULE__{}

  @doc """
  A block with zeros for arrays. Options: `:width`, `:eps`, `:laurel`, the features between its matrices, `:scaled`, whether
  what a block adds to the other streams is scaled, and the options of its parts: `:attention`, `:feed_forward`, `:updates`
  and `:input`.
  """
  @impl true
  @spec new(keyword()) :: t()
  def new(options) do
    defaults = [
      width: nil,
      eps: nil,
      laurel: nil,
      scaled: true,
      attention: [],
      feed_forward: [],
      updates: [],
      input: []
    ]

    [width, eps, rank, scaled, attention, feed_forward, updates, input] =
      Options.without_stream(options, :"LM.Decoder.AlternatingBlock.new", defaults)

    norm = Parameter.norm({:rms, eps}, width)

    parts = [
      altup: AlternatingUpdates.new(updates),
      laurel: %{
        linear_left: Parameter.linear(width, rank),
        linear_right: Parameter.linear(rank, width),
        post_laurel_norm: norm
      },
      self_attn: Attention.new(attention),
      mlp: GatedFeedForward.new(feed_forward),
      per_layer_input: LayerInput.new(input),
      scaled: scaled
    ]

    struct!(__MODULE__, parts ++ for(name <- @norms, do: {name, norm}))
  end

  @impl true
  def cache(%__MODULE__{self_attn: attention}), do: Attention.cache(attention)

  @impl true
  def call(%__MODULE__{altup: updates} = block, streams, cache, step) do
    predictions = AlternatingUpdates.predict(updates, streams)
    x = AlternatingUpdates.stream(updates, predictions)
    normed = NN.Layer.call(block.input_layernorm, x)
    {attended, cache, step} = Attention.call(block.self_attn, normed, cache, step)
    h = Mlx.add(x, NN.Layer.call(block.post_attention_layernorm, attended))
    h = h |> Mlx.add(laurel(block.laurel, normed)) |> Mlx.multiply(2 ** -0.5)
    y = GatedFeedForward.call(block.mlp, NN.Layer.call(block.pre_feedforward_layernorm, h))
    y = Mlx.add(h, NN.Layer.call(block.post_feedforward_layernorm, y))
    {with_input(block, AlternatingUpdates.correct(updates, predictions, y), step), cache, step}
  end

  defp laurel(%{linear_left: left, linear_right: right, post_laurel_norm: norm}, x) do
    Mlx.add(x, NN.Layer.call(norm, NN.Layer.call(right, NN.Layer.call(left, x))))
  end

  defp with_input(%__MODULE__{altup: updates} = block, streams, step) do
    x = AlternatingUpdates.stream(updates, streams)
    x = if block.scaled, do: Mlx.multiply(x, updates.correct_output_scale), else: x
    {y, nil, _step} = LayerInput.call(block.per_layer_input, x, nil, step)
    y = NN.Layer.call(block.post_per_layer_input_norm, y)
    [first, others] = Mlx.split(streams, [1])
    Mlx.concatenate([first, Mlx.add(others, y)])
  end

  @impl true
  def join(%__MODULE__{self_attn: attention, mlp: feed_forward} = block) do
    %{block | self_attn: Attention.join(attention), mlp: GatedFeedForward.join(feed_forward)}
  end
end
