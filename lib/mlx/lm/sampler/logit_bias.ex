defmodule Mlx.LM.Sampler.LogitBias do
  @moduledoc false
  # Numbers that are added to the logits of some tokens, as arrays `{1, n}`: the tokens and the numbers. A compiled step
  # takes any numbers then.

  alias Mlx.Array

  @type t :: {Array.t(), Array.t()} | nil

  @doc "The arrays of a map of tokens to numbers; nil where it is empty."
  @spec new(%{non_neg_integer() => number()}) :: t()
  def new(bias) when bias == %{}, do: nil

  def new(bias) do
    {tokens, numbers} = Enum.unzip(for {token, number} <- bias, do: {token, number * 1.0})
    {Mlx.array([tokens], type: :s32), Mlx.array([numbers], type: :f32)}
  end

  @doc "The logits `{1, vocabulary}` with the numbers."
  @spec apply(Array.t(), t()) :: Array.t()
  def apply(logits, nil), do: logits
  def apply(logits, {tokens, numbers}), do: Mlx.add_along_axis(Mlx.as_type(logits, :f32), tokens, numbers, axis: 1)
end
