defmodule Mlx.LM.Sampler.Penalties do
  @moduledoc false
  # What makes tokens less probable that came a short while ago. A penalty is a row of a table: its option, the option that
  # says how many tokens it looks at, the value without effect, and what it makes of logits.
  #
  #     logits = Penalties.apply(sampler, logits)

  alias Mlx.Array
  alias Mlx.LM.Sampler.RecentTokens

  # In the order in which they are applied.
  @penalties [
    {:repetition_penalty, :repetition_context, 1, &__MODULE__.repetition/3},
    {:presence_penalty, :presence_context, 0, &__MODULE__.presence/3},
    {:frequency_penalty, :frequency_context, 0, &__MODULE__.frequency/3}
  ]

  @doc "How many tokens the penalties among the options of a sampler look at."
  @spec window(keyword()) :: non_neg_integer()
  def window(options) do
    Enum.max([0 | for({penalty, context, none, _fun} <- @penalties, options[penalty] != none, do: options[context])])
  end

  @doc "The logits `{1, vocabulary}` with all penalties, for the recent tokens of the sampler."
  @spec apply(map(), Array.t() | nil, Array.t()) :: Array.t()
  def apply(_settings, nil, logits), do: logits

  def apply(settings, recent, %Array{shape: {1, vocabulary}} = logits) do
    Enum.reduce(@penalties, logits, fn {penalty, context, none, fun}, logits ->
      case settings do
        %{^penalty => value} when value == none -> logits
        %{^penalty => value, ^context => count} -> fun.(logits, RecentTokens.counts(recent, count, vocabulary), value)
      end
    end)
  end

  @doc false
  def repetition(logits, counts, penalty) do
    penalized = Mlx.select(Mlx.less(logits, 0), Mlx.multiply(logits, penalty), Mlx.divide(logits, penalty))
    Mlx.select(Mlx.greater(counts, 0), penalized, logits)
  end

  @doc false
  def presence(logits, counts, penalty), do: Mlx.select(Mlx.greater(counts, 0), Mlx.subtract(logits, penalty), logits)

  @doc false
  def frequency(logits, counts, penalty), do: Mlx.subtract(logits, Mlx.multiply(counts, penalty))
end
