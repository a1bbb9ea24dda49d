defmodule Mlx.LM.Speculation.Verdict do
  @moduledoc false
  # Which tokens come of the logits after each draft, in one of two ways. Both keep the distribution.
  #
  #   * Compare: the sampler chooses a token of each row of logits, one after the other, as it does without drafts. They count
  #     as long as the drafts are the same. So the tokens of a seed are those without drafts. It serves for drafts without
  #     probabilities, for the most probable tokens, and for a sampler of the user's own.
  #   * Reject: a draft that was drawn with probabilities is accepted or not by `Mlx.LM.Speculation.Rejection`, which
  #     accepts more of them.
  #
  # The penalties of a row look at the drafts before it. Rows after the first draft that is not accepted are of no use.

  alias Mlx.{Array, Random}
  alias Mlx.LM.Sampler
  alias Mlx.LM.Sampler.Distribution
  alias Mlx.LM.Speculation.Rejection

  @typep keys :: Array.t() | nil
  @typep judged :: {Array.t(), Array.t(), [Sampler.t(), ...]}

  @doc """
  The sampler of the model's rows, that of the drafts, and the key of the verdict. Their random numbers are independent.
  """
  @spec keys(Sampler.t()) :: {Sampler.t(), Sampler.t(), keys()}
  def keys(sampler) do
    drafting = %{sampler | logprobs: nil, last: nil}

    if Distribution.draws?(sampler) do
      [next, draft, key] = sampler.key |> Random.split(parts: 3) |> Mlx.unstack()
      {%{sampler | key: next}, %{drafting | key: draft}, key}
    else
      {sampler, drafting, nil}
    end
  end

  @doc "The tokens, each with the sampler that chose it, and the sampler after them."
  @spec of([Array.t(), ...], [Array.t()], [Array.t()] | nil, Sampler.t(), keys()) ::
          {[{non_neg_integer(), Sampler.t()}, ...], Sampler.t()}
  def of(rows, drafts, probabilities, sampler, key) do
    read(judged(rows, drafts, probabilities, sampler, key), sampler, probabilities != nil)
  end

  @doc """
  What `read/3` reads, which is not evaluated: a token for each of the rows, `{count + 1}`, how many of the drafts are accepted,
  and the samplers.
  """
  @spec judged([Array.t(), ...], [Array.t()], [Array.t()] | nil, Sampler.t(), keys()) :: judged
  def judged(rows, drafts, nil, sampler, _key), do: compared(rows, drafts, sampler)
  def judged(rows, drafts, probabilities, sampler, key), do: rejected(rows, drafts, probabilities, sampler, key)

  defp compared(rows, drafts, sampler) do
    {steps, _sampler} =
      Enum.map_reduce(rows, sampler, fn row, sampler ->
        {token, sampler} = Sampler.sample(sampler, row)
        {{token, sampler}, sampler}
      end)

    {tokens, samplers} = Enum.unzip(steps)
    {Mlx.concatenate(tokens), same(tokens, drafts), samplers}
  end

  # How many of the first tokens are the drafts.
  defp same(_tokens, []), do: Mlx.array(0)

  defp same(tokens, drafts) do
    tokens = tokens |> Enum.take(length(drafts)) |> Mlx.concatenate()
    equal = tokens |> Mlx.equal(Mlx.concatenate(drafts)) |> Mlx.as_type(:s32)
    equal |> Mlx.cumulative_product(axis: 0) |> Mlx.sum()
  end

  defp rejected(rows, drafts, probabilities, sampler, key) do
    [key | filters] = key |> Random.split(parts: length(rows) + 1) |> Mlx.unstack()
    # What each row sees.
    samplers = [sampler | Enum.scan(drafts, sampler, &Sampler.observe(&2, Mlx.new_axis(&1, 0)))]

    {rows, model} =
      [rows, samplers, filters]
      |> Enum.zip_with(fn [row, sampler, key] -> Distribution.of(sampler, row, key) end)
      |> Enum.unzip()

    batch = &Mlx.stack(&1, axis: 1)
    {accepted, next} = Rejection.choose(batch.(drafts), batch.(probabilities), batch.(model), key)

    tokens =
      for {draft, place} <- Enum.with_index(drafts), do: Mlx.select(Mlx.greater(accepted, place), draft, next)

    told =
      Enum.zip_with([rows, samplers, tokens ++ [next]], fn [row, sampler, token] ->
        Distribution.told(sampler, row, token)
      end)

    {Mlx.concatenate(tokens ++ [next]), Mlx.squeeze(accepted), told}
  end

  @doc "The arrays that `read/3` reads."
  @spec arrays(judged) :: term()
  def arrays({tokens, accepted, samplers}) do
    {tokens, accepted, for(sampler <- samplers, do: Map.take(sampler, [:key, :recent, :last]))}
  end

  @doc "What `of/5` gives, of the sampler before the tokens, and of whether the drafts had probabilities."
  @spec read(judged, Sampler.t(), boolean()) :: {[{non_neg_integer(), Sampler.t()}, ...], Sampler.t()}
  def read({_tokens, _accepted, samplers} = judged, sampler, rejected?) do
    # Everything is computed at once.
    {tokens, accepted, parts} = judged |> arrays() |> Mlx.eval()
    samplers = Enum.zip_with(samplers, parts, &Map.merge/2)
    chosen = tokens |> Mlx.to_list() |> Enum.zip(samplers) |> Enum.take(Mlx.to_number(accepted) + 1)
    {chosen, if(rejected?, do: observed(sampler, chosen), else: chosen |> List.last() |> elem(1))}
  end

  defp observed(sampler, chosen) do
    Sampler.observe(sampler, Mlx.array([for({id, _sampler} <- chosen, do: id)], type: :s32))
  end
end
