defmodule Mlx.LM.Server.Constraint do
  @moduledoc false
  # What the text of a request has to be: the place in the grammar of the option `:grammar`. Requests without one have nil.

  alias Mlx.Array
  alias Mlx.LM.{Grammar, Tokenizer}
  alias Mlx.LM.Grammar.{Place, State}
  alias Mlx.LM.Server.Batch

  @typep place :: State.t()
  @type t :: place | nil

  @typedoc "What `compile/0` returns."
  @type choose :: (Array.t(), Array.t() -> {Array.t(), Array.t()})

  @doc "The place before the first token of a grammar; nil of nil. Messages name no function."
  @spec new(term(), Tokenizer.t(), MapSet.t()) :: t()
  def new(grammar, tokenizer, end_ids), do: Place.of_option!(grammar, tokenizer, end_ids)

  @doc "The tokens that may come next, one bit each, as `Mlx.LM.Grammar.mask/1` gives them."
  @spec allowed(t()) :: binary() | nil
  def allowed(nil), do: nil
  def allowed(place), do: Grammar.mask(place)

  @doc "What `masked/2` takes: the tokens that may come next, of a vocabulary of so many."
  @spec mask(t(), pos_integer()) :: Array.t() | nil
  def mask(nil, _vocabulary), do: nil
  def mask(place, vocabulary), do: Grammar.mask_words([allowed(place)], vocabulary)

  @doc "The function of logits `{rows, vocabulary}` and words `{rows, words}` that all steps of a server share: see `of_rows/3`."
  @spec compile() :: choose
  def compile, do: Mlx.compile(&choose/2)

  defp choose(logits, words) do
    logits = Grammar.apply_masks(logits, words)
    {Batch.likeliest(logits), logits}
  end

  @doc """
  The most probable tokens `{rows}` of those that may come next, and the logits without the others. `allowed` has what
  `allowed/1` gives for each row, and `choose` is of `compile/0`.
  """
  @spec of_rows(choose, Array.t(), [binary() | nil]) :: {Array.t(), Array.t()}
  def of_rows(choose, logits, allowed), do: choose.(logits, Grammar.mask_words(allowed, Mlx.axis_size(logits, 1)))

  @doc "The logits `{1, vocabulary}` without the tokens that must not come."
  @spec masked(Array.t(), Array.t() | nil) :: Array.t()
  def masked(logits, nil), do: logits
  def masked(logits, words), do: Grammar.apply_masks(logits, words)

  @doc "The place behind a token, and whether nothing may follow it."
  @spec accept(t(), non_neg_integer()) :: {t(), boolean()}
  def accept(nil, _id), do: {nil, false}

  def accept(place, id) do
    place = Grammar.accept(place, id)
    {place, Grammar.finished?(place)}
  end
end
