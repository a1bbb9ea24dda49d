defmodule Mlx.LM.Tokenizer.BytePairEncoding.Sieve do
  @moduledoc false
  # Says of most pairs of tokens that have no merge that they have none, in a small part of the time that the table of merges
  # takes. Most pairs that are asked for have none.
  #
  # It is a set of bits. Each pair has the bit of its hash, which few others share.

  import Bitwise

  @opaque t :: {binary, non_neg_integer}

  @bits_per_pair 12
  @fewest_bits 1024

  @doc "The sieve of pairs that have a merge, each `left <<< 24 ||| right`."
  @spec new([non_neg_integer]) :: t
  def new(pairs) do
    bits = bits(@fewest_bits, @bits_per_pair * length(pairs))
    words = :atomics.new(div(bits, 32), signed: false)

    for pair <- pairs do
      bit = hash(pair >>> 24, pair &&& 0xFFFFFF) &&& bits - 1
      word = (bit >>> 5) + 1
      :atomics.put(words, word, :atomics.get(words, word) ||| 1 <<< (bit &&& 31))
    end

    {for(word <- 1..div(bits, 32), into: <<>>, do: <<:atomics.get(words, word)::32-little>>), bits - 1}
  end

  defp bits(bits, least) when bits >= least, do: bits
  defp bits(bits, least), do: bits(2 * bits, least)

  @doc "Whether two tokens may have a merge."
  @spec may?(t, non_neg_integer, non_neg_integer) :: boolean
  def may?({set, mask}, left, right) do
    bit = hash(left, right) &&& mask
    before = bit >>> 3
    <<_before::binary-size(before), byte, _rest::binary>> = set
    (byte >>> (bit &&& 7) &&& 1) == 1
  end

  # Ids have 24 bits, so that the products are no large integers.
  defp hash(left, right), do: bxor(left * 0x9E3779B1, right * 0x85EBCA6B) >>> 9
end
