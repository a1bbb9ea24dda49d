defmodule Mlx.LM.Sampler do
  @moduledoc """
  Chooses a token from logits.

  Options, all of which may be combined:

    * `:temperature` - divides the logits. `0.0` (default) always takes the most probable token; then the other options
      but the repetition penalty have no effect
    * `:top_k` - choose among this many most probable tokens; default `nil`, all
    * `:top_p` - choose among the fewest most probable tokens whose probabilities reach this sum; default `1.0`
    * `:min_p` - leave out tokens less probable than this fraction of the most probable; default `0.0`
    * `:repetition_penalty` - divides the positive logits of recent tokens and multiplies the negative ones; default `1.0`
    * `:repetition_context` - how many tokens are recent, default 64
    * `:seed` - an integer from 0 to `2 ** 64 - 1`. The same seed gives the same tokens; by default it is a random one

  The probabilities that `:top_p` and `:min_p` speak of are those before the temperature.

      iex> sampler = Mlx.LM.Sampler.new(temperature: 0.8, top_k: 1, seed: 7)
      iex> {token, _sampler} = Mlx.LM.Sampler.sample(sampler, Mlx.array([[0.5, 2.0, 1.0]]))
      iex> Mlx.to_list(token)
      [1]
  """

  use Mlx.Arguments.Mismatch

  alias Mlx.Array
  alias Mlx.Arguments.{Given, Options}

  @defaults [
    temperature: 0.0,
    top_k: nil,
    top_p: 1.0,
    min_p: 0.0,
    repetition_penalty: 1.0,
    repetition_context: 64,
    seed: nil
  ]

  @enforce_keys [:temperature, :top_k, :top_p, :min_p, :repetition_penalty, :repetition_context, :key]
  defstruct @enforce_keys ++ [recent: nil]

  @type t :: %__MODULE__{
          temperature: number(),
          top_k: pos_integer() | nil,
          top_p: number(),
          min_p: number(),
          repetition_penalty: number(),
          repetition_context: pos_integer(),
          key: Array.t(),
          recent: Array.t() | nil
        }

  @doc "The names of the options."
  @spec options() :: [atom()]
  def options, do: Keyword.keys(@defaults)

  @doc "A sampler. Raises `ArgumentError` for an unknown option or a value out of range."
  @spec new(keyword()) :: t()
  def new(options \\ []) do
    {seed, options} = options |> Options.complete(:"LM.Sampler.new", @defaults) |> Keyword.pop!(:seed)
    Enum.each(options, &check!/1)
    struct!(__MODULE__, [{:key, Mlx.Random.key(seed!(seed))} | options])
  end

  @doc "Takes note of tokens `{1, n}` that came before, for the repetition penalty."
  @spec observe(t(), Array.t()) :: t()
  def observe(%__MODULE__{repetition_penalty: penalty} = sampler, %Array{}) when penalty == 1, do: sampler

  def observe(%__MODULE__{recent: nil} = sampler, %Array{} = tokens) do
    # What is penalized does not depend on how often a token came: so there are as many at once as there will be later.
    first = Mlx.broadcast(Mlx.slice(tokens, [0, 0], [1, 1]), {1, sampler.repetition_context})
    observe(%{sampler | recent: first}, tokens)
  end

  def observe(%__MODULE__{recent: recent, repetition_context: context} = sampler, %Array{} = tokens) do
    seen = Mlx.concatenate([recent, tokens], axis: 1)
    %{sampler | recent: Mlx.slice(seen, [0, Mlx.axis_size(tokens, 1)], [1, context])}
  end

  @doc """
  A token, an array `{1}`, for logits `{1, vocabulary}`, and the sampler for the next one.

  The logits are not evaluated, and neither is the token.
  """
  @spec sample(t(), Array.t()) :: {Array.t(), t()}
  def sample(%__MODULE__{} = sampler, %Array{} = logits) do
    {token, sampler} = choose(sampler, penalize(sampler, logits))
    token = Mlx.as_type(token, :s32)
    {token, observe(sampler, Mlx.new_axis(token, 0))}
  end

  defp choose(%__MODULE__{temperature: temperature} = sampler, logits) when temperature == 0 do
    {Mlx.argmax(logits, axis: -1), sampler}
  end

  defp choose(%__MODULE__{key: key} = sampler, logits) do
    [key, next] = key |> Mlx.Random.split() |> Mlx.unstack()
    {draw(sampler, Mlx.as_type(logits, :f32), key), %{sampler | key: next}}
  end

  defp draw(%__MODULE__{top_k: nil, top_p: top_p, min_p: min_p} = sampler, logits, key)
       when top_p == 1 and min_p == 0 do
    categorical(sampler, logits, key)
  end

  # All filters keep a start of the tokens in the order of their probability.
  defp draw(sampler, logits, key) do
    order = order(sampler, logits)
    sorted = Mlx.take_along_axis(logits, order, axis: -1)
    probabilities = Mlx.exp(Mlx.subtract(sorted, Mlx.logsumexp(logits, axes: [-1], keep_axes: true)))
    place = sampler |> categorical(filter(sampler, sorted, probabilities), key) |> Mlx.new_axis(-1)
    order |> Mlx.take_along_axis(place, axis: -1) |> Mlx.squeeze(axes: [-1])
  end

  defp categorical(sampler, logits, key), do: Mlx.Random.categorical(Mlx.divide(logits, sampler.temperature), key: key)

  # The most probable tokens, which are much cheaper to find than to sort all.
  defp order(%__MODULE__{top_k: count}, %Array{shape: {batch, size}} = logits)
       when is_integer(count) and count < size do
    top = logits |> Mlx.negate() |> Mlx.argpartition(count - 1) |> Mlx.slice([0, 0], [batch, count])
    Mlx.take_along_axis(top, descending(Mlx.take_along_axis(logits, top, axis: -1)), axis: -1)
  end

  defp order(_sampler, logits), do: descending(logits)

  defp descending(logits), do: logits |> Mlx.negate() |> Mlx.argsort(axis: -1)

  defp filter(sampler, sorted, probabilities) do
    sorted
    |> keep_if(sampler.top_p < 1, fn ->
      probabilities |> Mlx.cumulative_sum(axis: -1, inclusive: false) |> Mlx.less(sampler.top_p)
    end)
    |> keep_if(sampler.min_p > 0, fn ->
      [greatest | _] = Mlx.split(probabilities, [1], axis: -1)
      Mlx.greater_equal(probabilities, Mlx.multiply(greatest, sampler.min_p))
    end)
  end

  defp keep_if(logits, false, _kept), do: logits
  defp keep_if(logits, true, kept), do: Mlx.select(kept.(), logits, :neg_infinity)

  defp penalize(%__MODULE__{recent: nil}, logits), do: logits

  defp penalize(%__MODULE__{recent: recent, repetition_penalty: penalty}, logits) do
    seen = Mlx.take_along_axis(logits, recent, axis: -1)
    less_likely = Mlx.select(Mlx.less(seen, 0), Mlx.multiply(seen, penalty), Mlx.divide(seen, penalty))
    Mlx.put_along_axis(logits, recent, less_likely, axis: -1)
  end

  defp seed!(nil), do: :rand.uniform(0x100000000) - 1
  defp seed!(seed) when is_integer(seed) and seed in 0..0xFFFFFFFFFFFFFFFF, do: seed
  defp seed!(seed), do: invalid!(:seed, seed, "an integer from 0 to 2 ** 64 - 1")

  defp check!({:temperature, value}) when is_number(value) and value >= 0, do: :ok
  defp check!({:temperature, value}), do: invalid!(:temperature, value, "a number from 0 on")
  defp check!({:top_k, value}) when is_nil(value) or (is_integer(value) and value > 0), do: :ok
  defp check!({:top_k, value}), do: invalid!(:top_k, value, "a positive integer")
  defp check!({:top_p, value}) when is_number(value) and value > 0 and value <= 1, do: :ok
  defp check!({:top_p, value}), do: invalid!(:top_p, value, "a number over 0 and up to 1")
  defp check!({:min_p, value}) when is_number(value) and value >= 0 and value <= 1, do: :ok
  defp check!({:min_p, value}), do: invalid!(:min_p, value, "a number from 0 to 1")
  defp check!({:repetition_penalty, value}) when is_number(value) and value > 0, do: :ok
  defp check!({:repetition_penalty, value}), do: invalid!(:repetition_penalty, value, "a number over 0")
  defp check!({:repetition_context, value}) when is_integer(value) and value > 0, do: :ok
  defp check!({:repetition_context, value}), do: invalid!(:repetition_context, value, "a positive integer")

  @spec invalid!(atom(), term(), String.t()) :: no_return()
  defp invalid!(name, value, expected) do
    raise ArgumentError, "Mlx.LM.Sampler.new: expected #{inspect(name)} to be #{expected}, got: #{Given.text(value)}"
  end
end
