defmodule Mlx.LM.Grammar.TokenSet do
  @moduledoc false
  # Sets of tokens: words of 32 bits, little-endian, in which the bit of each token is 1, as a mask has them; or the numbers of
  # the tokens where these are few.

  alias Mlx.Native

  @type words :: binary()
  @type t :: words() | {:ids, binary()}

  @none {:ids, <<>>}

  @doc "The set of these tokens, which are few."
  @spec new([non_neg_integer()]) :: t()
  def new(ids), do: {:ids, for(id <- ids, into: <<>>, do: <<id::32-little>>)}

  @doc "The set of no tokens."
  @spec none() :: t()
  def none, do: @none

  @doc "The tokens of some sets. All tokens are in so many words."
  @spec union([t()], non_neg_integer()) :: t()
  def union(sets, words) do
    case Enum.reject(sets, &(&1 == @none)) do
      [] -> @none
      [set] -> set
      sets -> few(sets, words) || Native.grammar_union(sets, @none, words) || @none
    end
  end

  # A token may be there more than once.
  defp few(sets, words) do
    if Enum.all?(sets, &is_tuple/1) and Enum.sum_by(sets, fn {:ids, ids} -> byte_size(ids) end) < 4 * words,
      do: {:ids, IO.iodata_to_binary(Enum.map(sets, &elem(&1, 1)))}
  end

  @doc "The tokens of some sets without those of another one, as so many words; nil where there are none."
  @spec words([t()], t(), non_neg_integer()) :: words() | nil
  def words(sets, without, words), do: Native.grammar_union(sets, without, words)

  @doc "How many words have all tokens of a set of few."
  @spec least_words(t()) :: non_neg_integer()
  def least_words({:ids, ids}), do: for(<<id::32-little <- ids>>, reduce: 0, do: (most -> max(most, div(id, 32) + 1)))

  @doc "The number of bytes of a set."
  @spec bytes(t()) :: non_neg_integer()
  def bytes({:ids, ids}), do: byte_size(ids)
  def bytes(words), do: byte_size(words)
end
