defmodule Mlx.LM.Encoder.Config do
  @moduledoc false
  # The parts that an encoder is made of, and their sizes. A family makes it of `config.json`.

  alias Mlx.LM.Encoder.Settings

  @enforce_keys [:vocab_size, :hidden_size, :intermediate_size, :heads, :norm_eps, :max_length, :layers]
  defstruct @enforce_keys ++
              [
                # learned positions: how many rows there are, and the row of the first position
                positions: 0,
                position_offset: 0,
                token_types: 0,
                # where a layer has its normalisations: `:after` each residual sum, or `:before` each unit
                norms: :after,
                norm_bias: true,
                # whether the first layer has a normalisation before its attention
                first_norm: true,
                final_norm: false,
                attention_bias: true,
                activation: "gelu",
                feed_forward_bias: true,
                # whether a feed-forward unit multiplies what is activated by a second projection
                gated: false,
                classifier: nil,
                # how many separators there are between the texts of a pair
                separators: 1
              ]

  @typedoc """
  What a layer's attention differs in: the base of its rotary positions, or nil for none, and how many positions it sees
  on either side, or nil for all.
  """
  @type layer :: %{rope: number() | nil, window: pos_integer() | nil}

  @typedoc "What is made of the vectors of a text: see `Mlx.LM.Encoder.Classifier`."
  @type classifier :: %{
          labels: pos_integer(),
          pooling: :cls | :mean | :last,
          activation: String.t(),
          bias: boolean(),
          norm: boolean()
        }

  @type t :: %__MODULE__{
          vocab_size: pos_integer(),
          hidden_size: pos_integer(),
          intermediate_size: pos_integer(),
          heads: pos_integer(),
          norm_eps: float(),
          max_length: pos_integer(),
          layers: [layer()],
          positions: non_neg_integer(),
          position_offset: non_neg_integer(),
          token_types: non_neg_integer(),
          norms: :after | :before,
          norm_bias: boolean(),
          first_norm: boolean(),
          final_norm: boolean(),
          attention_bias: boolean(),
          activation: String.t(),
          feed_forward_bias: boolean(),
          gated: boolean(),
          classifier: classifier() | nil,
          separators: pos_integer()
        }

  @doc "The configuration with these parts. Raises `Mlx.Error` for sizes that don't fit together."
  @spec new(keyword()) :: t()
  def new(parts) do
    config = struct!(__MODULE__, parts)

    if rem(config.hidden_size, config.heads) != 0 do
      Settings.fail!("the width #{config.hidden_size} is no multiple of the #{config.heads} heads")
    end

    if Enum.any?(config.layers, & &1.rope) and rem(div(config.hidden_size, config.heads), 2) != 0 do
      Settings.fail!("heads of #{div(config.hidden_size, config.heads)} features can't be rotated, which takes pairs")
    end

    config
  end
end
