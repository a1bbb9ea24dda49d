defmodule Mlx.LM.Server.Drafting do
  @moduledoc false
  # Drafts of the rows of a batch, each from its own text or of the server's draft model (the option `:draft`), which the model
  # checks together: row after row has so many drafts as it has, and the others of its positions are filled with what is not
  # looked at. `Mlx.LM.Speculation` does the same for one generation.
  #
  #     {drafts, drafter} = Drafting.drafts(rows, drafter)                 # %{ref => draft}
  #     ids = Drafting.ids(rows, drafts, batch)                            # {slots, positions}
  #     {chosen, sampler} = Drafting.chosen(row, draft, {greedy, logits}, slot, mask)      # [{id, sampler}]

  alias Mlx.Array
  alias Mlx.Arguments.Given
  alias Mlx.LM.Sampler
  alias Mlx.LM.Server.{About, Batch, Choosing, Drafter, Row}
  alias Mlx.LM.Speculation.{Ngrams, Settings, Verdict}

  @typep mask :: Array.t() | nil
  @typep drafter :: Drafter.t() | nil
  @typep draft :: Drafter.draft() | {:error, String.t()}

  @doc "The draft model of a server and how many tokens it drafts, or nil. Messages name no function."
  @spec model!(Mlx.LM.t() | nil, pos_integer() | nil, Mlx.LM.t()) :: Settings.t() | nil
  def model!(draft, count, lm) do
    settings = Settings.new!([draft: draft, draft_tokens: count], lm)

    for %Mlx.LM{} = model <- [draft && lm, draft], not Batch.forgets?(model.model) do
      raise ArgumentError,
            "expected no :draft, because #{model.name} has recurrent layers or windows, which cannot forget a draft in a batch"
    end

    settings
  end

  @doc "The settings of a request, or nil. Messages name no function."
  @spec settings!(keyword(), About.t()) :: %{draft: :model | {:ngram, keyword()}, most: pos_integer()} | nil
  def settings!(options, about) do
    case options[:draft] do
      %Mlx.LM{} ->
        raise ArgumentError,
              "expected :draft to be :model, :prompt, {:ngram, options} or false, got a model, which the option :draft of " <>
                "Mlx.LM.Server.start_link takes for all requests"

      false ->
        if options[:draft_tokens], do: Settings.new!([draft_tokens: options[:draft_tokens]], nil)

      :model when about.draft_tokens == nil ->
        raise ArgumentError,
              "expected :draft to be :prompt, {:ngram, options} or false, got :model of a server without :draft"

      # Who asks for neither has no drafts beside a grammar.
      nil when about.draft_tokens != nil ->
        if options[:grammar] == nil or options[:draft_tokens] != nil, do: of_model!(options, about)

      :model ->
        of_model!(options, about)

      draft when draft != nil and not about.drafts? ->
        raise ArgumentError,
              "expected no :draft, because #{about.name} has recurrent layers or windows, which cannot forget a draft in a " <>
                "batch, got: #{Given.text(draft)}"

      _others ->
        Settings.new!(options, nil)
    end
  end

  defp of_model!(options, about) do
    Settings.without_grammar!(options)
    %{draft: :model, most: options[:draft_tokens] || about.draft_tokens}
  end

  @doc "Whether some row has drafts."
  @spec any?(%{reference() => Row.t()}) :: boolean()
  def any?(rows), do: Enum.any?(rows, fn {_ref, row} -> row.request.draft != nil end)

  @doc "The drafts of all rows, of which a row may have none."
  @spec drafts(%{reference() => Row.t()}, drafter) :: {%{reference() => draft}, drafter}
  def drafts(rows, drafter) do
    wanted =
      for {ref, %{request: %{draft: %{draft: :model}}} = row} <- rows,
          count = count(row),
          count > 0 and Drafter.member?(drafter, ref),
          into: %{},
          do: {ref, {row, count}}

    {drafts, drafter} = if wanted == %{}, do: {%{}, drafter}, else: Drafter.draft(drafter, wanted)
    {Map.new(rows, fn {ref, row} -> {ref, Map.get_lazy(drafts, ref, fn -> of_text(row) end)} end), drafter}
  end

  # After the last draft there is always one token more.
  defp count(row), do: min(row.request.draft.most, row.left - 1)

  defp of_text(%{ngrams: nil} = row), do: {[], nil, row.sampler, nil}

  defp of_text(row) do
    count = count(row)
    {if(count > 0, do: Ngrams.draft(row.ngrams, count), else: []), nil, row.sampler, nil}
  end

  @doc "Whether no row has a draft."
  @spec none?(%{reference() => draft}) :: boolean()
  def none?(drafts), do: Enum.all?(drafts, fn {_ref, draft} -> match?({[], _, _, _}, draft) end)

  @doc "What the rows read: the last token of each, and its drafts."
  @spec ids(%{reference() => Row.t()}, %{reference() => draft}, Batch.t()) :: Array.t()
  def ids(rows, drafts, batch) do
    by_slot = for {ref, row} <- rows, into: %{}, do: {Batch.slot(batch, ref), [hd(row.fed) | ids(drafts[ref])]}
    Batch.ids(batch, by_slot, by_slot |> Enum.map(fn {_slot, ids} -> length(ids) end) |> Enum.max())
  end

  @doc "The tokens of a draft."
  @spec ids(draft) :: [non_neg_integer()]
  def ids({:error, _text}), do: []
  def ids({ids, _probabilities, _sampler, _key}), do: ids

  @doc """
  The tokens of a row, each with the sampler that chose it, and the sampler after them: for the logits
  `{slots, positions, vocabulary}`, and the most probable tokens, lists of those of each slot.
  """
  @spec chosen(Row.t(), Drafter.draft(), {tuple(), Array.t()}, non_neg_integer(), mask) ::
          {[{non_neg_integer(), Sampler.t()}, ...], Sampler.t()}
  def chosen(row, {drafts, probabilities, sampler, key}, {greedy, logits}, slot, mask) do
    cond do
      mask == nil and Choosing.greedy?(sampler) ->
        {for(id <- same(elem(greedy, slot), drafts), do: {id, sampler}), sampler}

      drafts == [] ->
        {token, sampler} = Choosing.token(row.choose, sampler, place(logits, 0), slot, mask)
        {[{Mlx.to_number(token), sampler}], sampler}

      true ->
        rows = for place <- 0..length(drafts), do: logits |> place(place) |> Mlx.take(Mlx.array([slot]), axis: 0)
        Verdict.of(rows, for(id <- drafts, do: Mlx.array([id], type: :s32)), probabilities, sampler, key)
    end
  end

  # The tokens up to the first one that is another than the draft.
  defp same([id | ids], [id | drafts]), do: [id | same(ids, drafts)]
  defp same([id | _ids], _drafts), do: [id]

  defp place(%Array{shape: {slots, _positions, vocabulary}} = logits, place) do
    logits |> Mlx.slice([0, place, 0], [slots, 1, vocabulary]) |> Mlx.squeeze(axes: [1])
  end
end
