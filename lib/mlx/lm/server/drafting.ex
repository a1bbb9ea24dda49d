defmodule Mlx.LM.Server.Drafting do
  @moduledoc false
  # Drafts of the rows of a batch, each from its own text or of the server's draft model (the option `:draft`), which the model
  # checks together: row after row has so many drafts as it has, and the others of its positions are filled with what is not
  # looked at. `Mlx.LM.Speculation` does the same for one generation.
  #
  #     {drafts, drafter} = Drafting.drafts(rows, drafter)                 # %{ref => draft}
  #     ids = Drafting.ids(rows, drafts, batch)                            # {slots, positions}
  #     judged = Drafting.judged(judge, row, draft, {greedy, logits}, slot, mask)
  #     {chosen, sampler} = Drafting.chosen(judged)                        # [{id, sampler}]

  alias Mlx.Array
  alias Mlx.Arguments.Given
  alias Mlx.LM.Sampler
  alias Mlx.LM.Server.{About, Batch, Choosing, Drafter, Row, Slots}
  alias Mlx.LM.Speculation.{Ngrams, Settings, Verdict}

  @typep mask :: Array.t() | nil
  @typep drafter :: Drafter.t() | nil
  @typep draft :: Drafter.draft() | {:error, String.t()}
  @typep verdict :: {Array.t(), Array.t(), [Sampler.t(), ...]}
  @typep judged :: {:known, [{non_neg_integer(), Sampler.t()}, ...], Sampler.t()} | {verdict, Sampler.t(), boolean()}

  @type judge :: (Sampler.t(), Array.t(), Array.t(), Array.t(), [Array.t()] | nil, Array.t() | nil -> verdict)

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

  @doc """
  What the rows read: the last token of each, and its drafts. There is room for a power of two of drafts, because a step is
  compiled for each number.
  """
  @spec ids(%{reference() => Row.t()}, %{reference() => draft}, Batch.t()) :: Array.t()
  def ids(rows, drafts, batch) do
    by_slot = for {ref, row} <- rows, into: %{}, do: {Batch.slot(batch, ref), [hd(row.fed) | ids(drafts[ref])]}
    longest = drafts |> Enum.map(fn {_ref, draft} -> length(ids(draft)) end) |> Enum.max()
    Batch.ids(batch, by_slot, Slots.round(longest) + 1)
  end

  @doc "The tokens of a draft."
  @spec ids(draft) :: [non_neg_integer()]
  def ids({:error, _text}), do: []
  def ids({ids, _probabilities, _sampler, _key}), do: ids

  @doc "The function by which `judged/6` judges, which all rows share."
  @spec compile() :: judge
  def compile, do: Mlx.compile(&judge/6)

  defp judge(sampler, logits, slot, drafts, probabilities, key) do
    rows = for place <- 0..Mlx.axis_size(drafts, 0), do: logits |> place(place) |> Mlx.take(slot, axis: 0)
    drafts = for draft <- Mlx.unstack(drafts), do: Mlx.new_axis(draft, 0)
    Verdict.judged(rows, drafts, probabilities, sampler, key)
  end

  @doc """
  What `chosen/1` reads of a row, for the logits `{slots, positions, vocabulary}` and the most probable tokens of its slot.
  Nothing is evaluated, so that all rows are computed together.
  """
  @spec judged(judge, Row.t(), Drafter.draft(), {[non_neg_integer()], Array.t()}, non_neg_integer(), mask) :: judged
  def judged(judge, row, {drafts, probabilities, sampler, key}, {greedy, logits}, slot, mask) do
    cond do
      mask == nil and Choosing.greedy?(sampler) ->
        {:known, for(id <- same(greedy, drafts), do: {id, sampler}), sampler}

      drafts == [] ->
        {token, next} = Choosing.token(row.choose, sampler, place(logits, 0), slot, mask)
        {{token, Mlx.array(0), [next]}, sampler, false}

      true ->
        judge = if Choosing.shared?(sampler), do: judge, else: &judge/6
        [slot, drafts] = for ids <- [[slot], drafts], do: Mlx.array(ids, type: :s32)
        {judge.(sampler, logits, slot, drafts, probabilities, key), sampler, probabilities != nil}
    end
  end

  @doc "The arrays that `chosen/1` reads."
  @spec arrays(judged) :: term()
  def arrays({:known, _chosen, _sampler}), do: []
  def arrays({judged, _sampler, _rejected?}), do: Verdict.arrays(judged)

  @doc "The tokens of a row, each with the sampler that chose it, and the sampler after them."
  @spec chosen(judged) :: {[{non_neg_integer(), Sampler.t()}, ...], Sampler.t()}
  def chosen({:known, chosen, sampler}), do: {chosen, sampler}
  def chosen({judged, sampler, rejected?}), do: Verdict.read(judged, sampler, rejected?)

  # The tokens up to the first one that is another than the draft.
  defp same([id | ids], [id | drafts]), do: [id | same(ids, drafts)]
  defp same([id | _ids], _drafts), do: [id]

  defp place(%Array{shape: {slots, _positions, vocabulary}} = logits, place) do
    logits |> Mlx.slice([0, place, 0], [slots, 1, vocabulary]) |> Mlx.squeeze(axes: [1])
  end
end
