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
  def of(rows, drafts, nil, sampler, _key), do: compared(rows, drafts, sampler)
  def of(rows, drafts, probabilities, sampler, key), do: rejected(rows, drafts, probabilities, sampler, key)

  defp compared(rows, drafts, sampler) do
    {steps, _sampler} =
      Enum.map_reduce(rows, sampler, fn row, sampler ->
        {token, sampler} = Sampler.sample(sampler, row)
        {{token, sampler}, sampler}
      end)

    {tokens, samplers} = Enum.unzip(steps)
    {ids, drafted, samplers} = values(tokens, drafts, samplers)
    chosen = ids |> Enum.zip(samplers) |> Enum.take(same(ids, drafted) + 1)
    {_id, sampler} = List.last(chosen)
    {chosen, sampler}
  end

  defp same([id | ids], [id | drafts]), do: 1 + same(ids, drafts)
  defp same(_ids, _drafts), do: 0

  # Everything is computed at once.
  defp values(tokens, drafts, samplers) do
    parts = for sampler <- samplers, do: Map.take(sampler, [:key, :recent, :last])
    drafts = if drafts == [], do: Mlx.zeros({0}, type: :s32), else: Mlx.concatenate(drafts)
    {tokens, drafts, parts} = Mlx.eval({Mlx.concatenate(tokens), drafts, parts})
    {Mlx.to_list(tokens), Mlx.to_list(drafts), Enum.zip_with(samplers, parts, &Map.merge/2)}
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

    {ids, [accepted], told} = values(tokens ++ [next], [accepted], told)
    chosen = ids |> Enum.zip(told) |> Enum.take(accepted + 1)
    new = for {id, _sampler} <- chosen, do: id
    {chosen, Sampler.observe(sampler, Mlx.array([new], type: :s32))}
  end
end
