defmodule Mlx.LM.Sampler.LogProbabilities do
  @moduledoc false
  # The log-probabilities of the token that was chosen and of the most probable ones: arrays that the compiled step
  # returns, and their values once they are read.

  alias Mlx.Array
  alias Mlx.LM.Sampler.Filters

  @type t :: %{token: Array.t(), logprob: Array.t(), top_tokens: Array.t(), top_logprobs: Array.t()}

  @doc "Those of a token `{1}`, and of the `count` most probable ones."
  @spec of(Array.t(), Array.t(), non_neg_integer()) :: t()
  def of(%Array{shape: {1, size}} = logprobs, token, count) do
    top = top(logprobs, min(count, size))

    %{
      token: token,
      logprob: at(logprobs, Mlx.new_axis(token, 0)),
      top_tokens: Mlx.squeeze(top, axes: [0]),
      top_logprobs: at(logprobs, top)
    }
  end

  defp top(_logprobs, 0), do: Mlx.zeros({1, 0}, type: :u32)

  defp top(logprobs, count) do
    tokens = Filters.most_probable(logprobs, count)
    order = logprobs |> Mlx.take_along_axis(tokens, axis: -1) |> Mlx.negate() |> Mlx.argsort(axis: -1)
    Mlx.take_along_axis(tokens, order, axis: -1)
  end

  defp at(logprobs, tokens), do: logprobs |> Mlx.take_along_axis(tokens, axis: -1) |> Mlx.squeeze(axes: [0])

  @doc "Their values."
  @spec read(t()) :: %{id: non_neg_integer(), logprob: float(), top: [{non_neg_integer(), float()}]}
  def read(%{token: token, logprob: logprob, top_tokens: tokens, top_logprobs: logprobs}) do
    [id] = Mlx.to_list(token)
    [logprob] = Mlx.to_list(logprob)
    %{id: id, logprob: logprob, top: Enum.zip(Mlx.to_list(tokens), Mlx.to_list(logprobs))}
  end
end
