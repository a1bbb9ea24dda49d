defmodule Mlx.LM.Sampler.Choice do
  @moduledoc false
  # How a token is chosen: the most probable one, by a function of the user's own, or by a draw among those that the
  # filters keep.
  #
  #     {token, sampler} = Choice.choose(sampler, logits, logprobs)

  alias Mlx.Array
  alias Mlx.LM.Sampler.{Filters, UserFunctions}

  # Of a lower temperature, every other token is too improbable for f32.
  @coldest 1.0e-30

  @doc "Whether a sampler needs log-probabilities to choose."
  @spec of_logprobs?(map()) :: boolean()
  def of_logprobs?(%{sampler: nil, temperature: temperature}), do: temperature >= @coldest
  def of_logprobs?(_sampler), do: true

  @doc "A token `{1}`, and the sampler with the key for the next one. `row` has logits, or log-probabilities."
  @spec choose(map(), Array.t()) :: {Array.t(), map()}
  def choose(%{sampler: fun} = sampler, row) when is_function(fun) do
    {token, key} = Mlx.Random.with_state(sampler.key, fn -> UserFunctions.choose(fun, row) end)
    {token, %{sampler | key: key}}
  end

  def choose(sampler, row) do
    if of_logprobs?(sampler) do
      [key, next] = sampler.key |> Mlx.Random.split() |> Mlx.unstack()
      {draw(sampler, row, key), %{sampler | key: next}}
    else
      {Mlx.argmax(row, axis: -1), sampler}
    end
  end

  defp draw(sampler, logprobs, key) do
    [key, xtc_key] = if xtc?(sampler), do: key |> Mlx.Random.split() |> Mlx.unstack(), else: [key, nil]

    case candidates(sampler, logprobs, xtc_key) do
      {row, nil} ->
        categorical(sampler, row, key)

      {row, tokens} ->
        place = sampler |> categorical(row, key) |> Mlx.new_axis(-1)
        tokens |> Mlx.take_along_axis(place, axis: -1) |> Mlx.squeeze(axes: [-1])
    end
  end

  defp xtc?(%{xtc_probability: probability}), do: probability > 0

  @doc """
  The log-probabilities of the tokens with minus infinity for those that are left out, and what tokens they are of: nil
  for all in their order. The key says whether XTC is applied.
  """
  @spec candidates(map(), Array.t(), Array.t() | nil) :: {Array.t(), Array.t() | nil}
  def candidates(%{top_k: count} = sampler, %Array{shape: {1, size}} = logprobs, xtc_key) do
    cond do
      xtc?(sampler) ->
        {sampler |> filter(logprobs, nil) |> exclude(sampler, xtc_key) |> Filters.top_k(count), nil}

      # Python applies top-k last. Without XTC it may as well be the first, and then there are few tokens to sort.
      is_integer(count) and count < size ->
        tokens = Filters.most_probable(logprobs, count)
        total = if sampler.top_p < 1, do: logprobs |> Mlx.exp() |> Mlx.sum(axes: [-1], keep_axes: true)
        {filter(sampler, Mlx.take_along_axis(logprobs, tokens, axis: -1), total), tokens}

      true ->
        {filter(sampler, logprobs, nil), nil}
    end
  end

  defp exclude(logprobs, sampler, key) do
    excluded = Filters.xtc(logprobs, sampler.xtc_threshold, sampler.xtc_special_tokens)
    Mlx.select(Mlx.less_equal(Mlx.Random.uniform({}, key: key), sampler.xtc_probability), excluded, logprobs)
  end

  defp filter(sampler, logprobs, total) do
    logprobs |> Filters.top_p(sampler.top_p, total) |> Filters.min_p(sampler.min_p, sampler.min_tokens_to_keep)
  end

  @doc "The probabilities `{1, vocabulary}` that a token is drawn by, for log-probabilities and the key of XTC."
  @spec probabilities(map(), Array.t(), Array.t()) :: Array.t()
  def probabilities(sampler, logprobs, xtc_key) do
    {row, tokens} = candidates(sampler, logprobs, xtc_key)
    kept = sampler |> tempered(row) |> Mlx.softmax(axes: [-1])
    if tokens, do: logprobs |> Mlx.zeros_like() |> Mlx.put_along_axis(tokens, kept, axis: -1), else: kept
  end

  defp categorical(sampler, logprobs, key), do: sampler |> tempered(logprobs) |> Mlx.Random.categorical(key: key)

  # The quotients of the most probable tokens are finite at any temperature.
  defp tempered(sampler, logprobs) do
    top = Mlx.reduce_max(logprobs, axes: [-1], keep_axes: true)
    logprobs |> Mlx.subtract(top) |> Mlx.divide(sampler.temperature)
  end
end
