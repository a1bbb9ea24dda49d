defmodule Mlx.LM.Sampler.Distribution do
  @moduledoc false
  # The probabilities that a sampler draws by, for those who draw in another way: `Mlx.LM.Speculation`.

  alias Mlx.{Array, Random}
  alias Mlx.LM.Sampler
  alias Mlx.LM.Sampler.{Choice, LogProbabilities}

  @doc "Whether a sampler draws by probabilities, and neither takes the most probable token nor asks a function."
  @spec draws?(Sampler.t()) :: boolean()
  def draws?(sampler), do: sampler.sampler == nil and Choice.of_logprobs?(sampler)

  @doc """
  What `told/3` takes, and the probabilities `{1, vocabulary}` after all penalties, filters and the temperature. The key
  says whether XTC is applied.
  """
  @spec of(Sampler.t(), Array.t(), Array.t()) :: {Array.t(), Array.t()}
  def of(sampler, logits, key) do
    row = Sampler.row(sampler, logits)
    {row, Choice.probabilities(sampler, row, key)}
  end

  @doc """
  A token `{1}` for logits `{1, vocabulary}`, the probabilities that it was drawn by, which are nil where it was not, and
  the sampler for the next one.
  """
  @spec sample(Sampler.t(), Array.t()) :: {Array.t(), Array.t() | nil, Sampler.t()}
  def sample(sampler, logits) do
    if draws?(sampler) do
      [next, filter, key] = sampler.key |> Random.split(parts: 3) |> Mlx.unstack()
      {_row, probabilities} = of(sampler, logits, filter)
      token = probabilities |> Mlx.log() |> Random.categorical(key: key) |> Mlx.as_type(:s32)
      {token, probabilities, Sampler.observe(%{sampler | key: next}, Mlx.new_axis(token, 0))}
    else
      {token, sampler} = Sampler.sample(sampler, logits)
      {token, nil, sampler}
    end
  end

  @doc "The sampler with the log-probabilities of a token `{1}` that was chosen, for `Mlx.LM.Sampler.logprobs/1`."
  @spec told(Sampler.t(), Array.t(), Array.t()) :: Sampler.t()
  def told(%{logprobs: nil} = sampler, _row, _token), do: sampler
  def told(sampler, row, token), do: %{sampler | last: LogProbabilities.of(row, token, sampler.logprobs)}
end
