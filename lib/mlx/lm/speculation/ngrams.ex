defmodule Mlx.LM.Speculation.Ngrams do
  @moduledoc false
  # Drafts from the text itself: where the last tokens came before, what followed them is likely to follow again. A copy of a
  # name, a quotation or code is found this way, for nothing.
  #
  #     ngrams = [longest: 3, shortest: 2] |> Ngrams.new() |> Ngrams.append(prompt)
  #     ids = Ngrams.draft(ngrams, 8)
  #
  # The longest run of last tokens counts, and of several places the latest.

  @enforce_keys [:lengths]
  # `tokens` by their places, and `followed`: the place after the latest run of tokens that something follows. `last` are the
  # last tokens, the latest first.
  defstruct @enforce_keys ++ [count: 0, tokens: %{}, followed: %{}, last: []]

  @type t :: %__MODULE__{
          lengths: [pos_integer()],
          count: non_neg_integer(),
          tokens: %{non_neg_integer() => non_neg_integer()},
          followed: %{[non_neg_integer()] => pos_integer()},
          last: [non_neg_integer()]
        }

  @doc "Of no tokens. The runs have from `:shortest` to `:longest` tokens."
  @spec new(keyword()) :: t()
  def new(options), do: %__MODULE__{lengths: Enum.to_list(options[:longest]..options[:shortest]//-1)}

  @doc "With these tokens at the end."
  @spec append(t(), [non_neg_integer()]) :: t()
  def append(%__MODULE__{} = ngrams, ids), do: Enum.reduce(ids, ngrams, &push(&2, &1))

  defp push(%{count: count, lengths: [longest | _]} = ngrams, id) do
    followed = for run <- runs(ngrams), into: ngrams.followed, do: {run, count}
    last = Enum.take([id | ngrams.last], longest)
    %{ngrams | count: count + 1, tokens: Map.put(ngrams.tokens, count, id), followed: followed, last: last}
  end

  # The runs at the end, the longest first.
  defp runs(%{count: count, last: last, lengths: lengths}) do
    for length <- lengths, length <= count, do: Enum.take(last, length)
  end

  @doc "Up to `count` tokens that may follow. A text that repeats itself to its end is taken to go on so."
  @spec draft(t(), pos_integer()) :: [non_neg_integer()]
  def draft(%__MODULE__{} = ngrams, count) do
    case Enum.find_value(runs(ngrams), &ngrams.followed[&1]) do
      nil -> []
      place -> for step <- 0..(count - 1), do: ngrams.tokens[place + rem(step, ngrams.count - place)]
    end
  end
end
