defmodule Mlx.LM.Sampler.UserFunctions do
  @moduledoc false
  # The functions of the user's own: those that change logits, and the one that chooses a token. They run while the step of
  # a model is recorded, so they see arrays without values.

  alias Mlx.Array
  alias Mlx.Arguments.Given
  alias Mlx.LM.Sampler.RecentTokens

  @doc "The logits `{1, vocabulary}` after each of the functions, which get the last `count` tokens as an array `{count}`."
  @spec process([(Array.t(), Array.t() -> Array.t())], Array.t(), pos_integer(), Array.t()) :: Array.t()
  def process([], _recent, _count, logits), do: logits

  def process(functions, recent, count, logits) do
    tokens = RecentTokens.last(recent, count)
    Enum.reduce(functions, logits, fn fun, logits -> processed!(fun.(tokens, logits), logits.shape) end)
  end

  defp processed!(%Array{shape: shape, type: type} = logits, shape) when type != :c64, do: Mlx.as_type(logits, :f32)

  defp processed!(other, shape) do
    raise ArgumentError,
          "Mlx.LM.Sampler.sample: expected a function of :logits_processors to return logits, an array of the shape " <>
            "#{inspect(shape)}, got: #{Given.text(other)}"
  end

  @doc "The token that the function chooses."
  @spec choose((Array.t() -> Array.t()), Array.t()) :: Array.t()
  def choose(fun, logprobs) do
    case fun.(logprobs) do
      %Array{shape: shape, type: type} = token when shape in [{}, {1}] and type not in [:bool, :c64] ->
        if Mlx.Type.subtype?(type, :integer), do: Mlx.reshape(token, {1}), else: refuse!(token)

      other ->
        refuse!(other)
    end
  end

  @spec refuse!(term()) :: no_return()
  defp refuse!(other) do
    raise ArgumentError,
          "Mlx.LM.Sampler.sample: expected the function :sampler to return a token, an array of integers and of the " <>
            "shape {1}, got: #{Given.text(other)}"
  end
end
