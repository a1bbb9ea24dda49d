defmodule Mlx.LM.Server.Constraint do
  @moduledoc false
  # What the text of a request has to be: the option `:grammar`, a struct whose module says, for a place in the text, which
  # tokens may come next. Its functions are
  #
  #   | function | what it gives |
  #   | --- | --- |
  #   | `place!(grammar, tokenizer, end_ids)` | the place before the first token |
  #   | `mask(place)` | a binary of words of 32 bits, in which those tokens have a 1 that may come |
  #   | `mask_words([mask], vocabulary)` | the array of masks |
  #   | `apply_masks(logits, words)` | logits that are negative infinity for all other tokens |
  #   | `accept(place, id)` | the place behind a token |
  #   | `finished?(place)` | whether nothing may follow |

  alias Mlx.Array
  alias Mlx.Arguments.Given

  @type t :: {module(), place :: term()} | nil

  @doc "The place before the first token of a grammar; nil of nil."
  @spec new(term(), Mlx.LM.Tokenizer.t(), MapSet.t()) :: t()
  def new(nil, _tokenizer, _end_ids), do: nil

  def new(%module{} = grammar, tokenizer, end_ids) do
    if not (Code.ensure_loaded?(module) and function_exported?(module, :place!, 3)), do: refuse!(grammar)
    {module, module.place!(grammar, tokenizer, end_ids)}
  end

  def new(other, _tokenizer, _end_ids), do: refuse!(other)

  @spec refuse!(term()) :: no_return()
  defp refuse!(other) do
    raise ArgumentError, "expected :grammar to be a grammar, or nil, got: #{Given.text(other)}"
  end

  @doc "What `masked/2` takes: the tokens that may come next, of a vocabulary of so many."
  @spec mask(t(), pos_integer()) :: {module(), Array.t()} | nil
  def mask(nil, _vocabulary), do: nil
  def mask({module, place}, vocabulary), do: {module, module.mask_words([module.mask(place)], vocabulary)}

  @doc "The logits `{1, vocabulary}` without the tokens that must not come."
  @spec masked(Array.t(), {module(), Array.t()} | nil) :: Array.t()
  def masked(logits, nil), do: logits
  def masked(logits, {module, words}), do: module.apply_masks(logits, words)

  @doc "The place behind a token, and whether nothing may follow it."
  @spec accept(t(), non_neg_integer()) :: {t(), boolean()}
  def accept(nil, _id), do: {nil, false}

  def accept({module, place}, id) do
    place = module.accept(place, id)
    {{module, place}, module.finished?(place)}
  end
end
