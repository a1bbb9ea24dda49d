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

  # Python applies top-k last. Without XTC it may as well be the first, and then there are few tokens to sort.
  defp draw(%{xtc_probability: probability, top_k: count} = sampler, %Array{shape: {1, size}} = logprobs, key)
       when probability == 0 and is_integer(count) and count < size do
    tokens = Filters.most_probable(logprobs, count)
    total = if sampler.top_p < 1, do: logprobs |> Mlx.exp() |> Mlx.sum(axes: [-1], keep_axes: true)
    kept = sampler |> filter(Mlx.take_along_axis(logprobs, tokens, axis: -1), total)
    place = sampler |> categorical(kept, key) |> Mlx.new_axis(-1)
    tokens |> Mlx.take_along_axis(place, axis: -1) |> Mlx.squeeze(axes: [-1])
  end

  defp draw(%{xtc_probability: probability} = sampler, logprobs, key) when probability == 0 do
    categorical(sampler, filter(sampler, logprobs, nil), key)
  end

  defp draw(sampler, logprobs, key) do
    [key, xtc_key] = key |> Mlx.Random.split() |> Mlx.unstack()
    kept = filter(sampler, logprobs, nil)
    excluded = Filters.xtc(kept, sampler.xtc_threshold, sampler.xtc_special_tokens)
    kept = Mlx.select(Mlx.less_equal(Mlx.Random.uniform({}, key: xtc_key), sampler.xtc_probability), excluded, kept)
    categorical(sampler, Filters.top_k(kept, sampler.top_k), key)
  end

  defp filter(sampler, logprobs, total) do
    logprobs |> Filters.top_p(sampler.top_p, total) |> Filters.min_p(sampler.min_p, sampler.min_tokens_to_keep)
  end

  # The quotients of the most probable tokens are finite at any temperature.
  defp categorical(sampler, logprobs, key) do
    top = Mlx.reduce_max(logprobs, axes: [-1], keep_axes: true)
    logprobs |> Mlx.subtract(top) |> Mlx.divide(sampler.temperature) |> Mlx.Random.categorical(key: key)
  end
end
