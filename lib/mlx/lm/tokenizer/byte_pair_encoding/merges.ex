defmodule Mlx.LM.Tokenizer.BytePairEncoding.Merges do
  @moduledoc false
  # The merges that were learned, by pair of tokens, and the tokens that they are made of, as numbers.
  #
  # A token of a word is `size <<< 24 ||| id`: the number of the word's bytes that it stands for, and its id. A merge is
  # `rank <<< 24 ||| id`, so that merges compare as their ranks do; `none/0` is larger than all of them.

  import Bitwise

  alias Mlx.Arguments.Given
  alias Mlx.LM.Tokenizer.BytePairEncoding.Sieve
  alias Mlx.LM.Tokenizer.{Model, Table}

  @id_bits 24
  @ids (1 <<< @id_bits) - 1
  @none 1 <<< 58

  @enforce_keys [:table, :sieve]
  defstruct @enforce_keys

  @typep table :: Table.t()
  @typep sieve :: Sieve.t()

  @type t :: %__MODULE__{table: table, sieve: sieve}

  @typedoc "A token of a word, with its size."
  @type token :: pos_integer

  @typedoc "A merge, or none."
  @type merge :: non_neg_integer

  @doc "What stands where two tokens have no merge."
  defmacro none, do: @none

  @doc """
  The merges of a list, best first, of pairs of tokens, which can have their rank with them, `{left, right, rank}`. `prefix`
  is the number of bytes that tokens inside of a word have in front.
  """
  @spec new([{binary, binary} | {binary, binary, non_neg_integer}], non_neg_integer, Model.vocabulary()) :: t
  def new(merges, prefix, ids) do
    merges = merges |> Enum.with_index() |> Map.new(&merge(&1, prefix, ids))
    %__MODULE__{table: Table.new(merges), sieve: merges |> Map.keys() |> Sieve.new()}
  end

  defp merge({{left, right, rank}, _index}, prefix, ids), do: merge({{left, right}, rank}, prefix, ids)

  defp merge({{left, right}, rank}, prefix, ids) do
    with %{^left => left_id, ^right => right_id} when byte_size(right) >= prefix <- ids,
         {:ok, id} <- Map.fetch(ids, left <> binary_part(right, prefix, byte_size(right) - prefix)) do
      {left_id <<< @id_bits ||| right_id, rank <<< @id_bits ||| id}
    else
      _other ->
        raise Mlx.Error,
          message: "merge #{rank} (#{Given.text(left)} and #{Given.text(right)}) does not name tokens of the vocabulary"
    end
  end

  @doc "The token of an id and a number of bytes."
  @spec token(non_neg_integer, non_neg_integer) :: token
  def token(id, size), do: size <<< @id_bits ||| id

  @doc "The id of a token."
  @spec id(token) :: non_neg_integer
  def id(token), do: token &&& @ids

  @doc "How many bytes of a word a token stands for."
  @spec size(token) :: non_neg_integer
  def size(token), do: token >>> @id_bits

  @doc "The merge of two neighbours."
  @spec of(t, token, token) :: merge
  def of(%{sieve: sieve, table: table}, left, right) do
    left = left &&& @ids
    right = right &&& @ids
    if Sieve.may?(sieve, left, right), do: Table.get(table, left <<< @id_bits ||| right) || @none, else: @none
  end

  @doc "What a merge makes of two neighbours."
  @spec joined(token, token, merge) :: token
  def joined(left, right, merge),
    do: ((left >>> @id_bits) + (right >>> @id_bits)) <<< @id_bits ||| (merge &&& @ids)
end
