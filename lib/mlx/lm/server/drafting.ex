defmodule Mlx.LM.Server.Drafting do
  @moduledoc false
  # Drafts of the rows of a batch, each from its own text (the option `:draft`), which the model checks together: row after row
  # has so many drafts as it has, and the others of its positions are filled with what is not looked at. `Mlx.LM.Speculation`
  # does the same for one generation.
  #
  #     drafts = Drafting.drafts(rows)                                    # %{ref => ids}
  #     ids = Drafting.ids(rows, drafts, batch)                           # {slots, positions}
  #     chosen = Drafting.chosen(row, drafts[ref], logits, slot, mask)    # [{id, sampler}]

  alias Mlx.Array
  alias Mlx.Arguments.Given
  alias Mlx.LM.{Decoder, KeyValueCache, Sampler}
  alias Mlx.LM.Server.{Batch, Choosing, Row}
  alias Mlx.LM.Speculation.{Ngrams, Settings, Verdict}

  @typep mask :: {module(), Array.t()} | nil

  @doc "Whether rows of a model can have drafts: their caches forget positions one by one."
  @spec possible?(Decoder.t()) :: boolean()
  def possible?(model), do: model |> Decoder.caches() |> Enum.all?(&is_struct(&1, KeyValueCache))

  @doc "The settings of a request, or nil. Messages name no function."
  @spec settings!(keyword(), String.t(), boolean()) :: Settings.t() | nil
  def settings!(options, name, possible?) do
    draft = options[:draft]

    cond do
      is_struct(draft, Mlx.LM) ->
        raise ArgumentError,
              "expected :draft to be :prompt or {:ngram, options} of a server, got a model; Mlx.LM.generate takes one"

      draft != nil and not possible? ->
        raise ArgumentError,
              "expected no :draft, because #{name} has recurrent layers or windows, which cannot forget a draft in a batch, " <>
                "got: #{Given.text(draft)}"

      true ->
        Settings.new!(options, nil)
    end
  end

  @doc "Whether some row has drafts."
  @spec any?(%{reference() => Row.t()}) :: boolean()
  def any?(rows), do: Enum.any?(rows, fn {_ref, row} -> row.ngrams != nil end)

  @doc "The drafts of all rows, of which a row may have none."
  @spec drafts(%{reference() => Row.t()}) :: %{reference() => [non_neg_integer()]}
  def drafts(rows), do: Map.new(rows, fn {ref, row} -> {ref, drafts_of(row)} end)

  defp drafts_of(%{ngrams: nil}), do: []

  defp drafts_of(row) do
    case min(row.request.draft.most, row.left - 1) do
      0 -> []
      count -> Ngrams.draft(row.ngrams, count)
    end
  end

  @doc "What the rows read: the last token of each, and its drafts."
  @spec ids(%{reference() => Row.t()}, %{reference() => [non_neg_integer()]}, Batch.t()) :: Array.t()
  def ids(rows, drafts, batch) do
    longest = drafts |> Enum.map(fn {_ref, ids} -> length(ids) end) |> Enum.max()
    by_slot = for {ref, row} <- rows, into: %{}, do: {Batch.slot(batch, ref), [hd(row.fed) | drafts[ref]]}

    Mlx.array(
      for slot <- 0..(batch.slots - 1) do
        ids = Map.get(by_slot, slot, [0])
        ids ++ List.duplicate(0, longest + 1 - length(ids))
      end,
      type: :s32
    )
  end

  @doc "The tokens of a row for logits `{slots, positions, vocabulary}`, each with the sampler that chose it."
  @spec chosen(Row.t(), [non_neg_integer()], Array.t(), non_neg_integer(), mask) ::
          [{non_neg_integer(), Sampler.t()}, ...]
  def chosen(row, [], logits, slot, mask) do
    {token, sampler} = Choosing.token(row.choose, row.sampler, place(logits, 0), slot, mask)
    [{Mlx.to_number(token), sampler}]
  end

  def chosen(row, drafts, logits, slot, nil) do
    rows = for place <- 0..length(drafts), do: logits |> place(place) |> Mlx.take(Mlx.array([slot]), axis: 0)
    drafts = for id <- drafts, do: Mlx.array([id], type: :s32)
    {chosen, _sampler} = Verdict.of(rows, drafts, nil, row.sampler, nil)
    chosen
  end

  defp place(%Array{shape: {slots, _positions, vocabulary}} = logits, place) do
    logits |> Mlx.slice([0, place, 0], [slots, 1, vocabulary]) |> Mlx.squeeze(axes: [1])
  end
end
