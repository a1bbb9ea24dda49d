defmodule Mlx.LM.Speculation do
  @moduledoc false
  # Speculative decoding: somebody drafts the next tokens, the model reads all of them in one call, and those stay that it
  # would have chosen, too. `Mlx.LM.Generation` calls it with the options `:draft` and `:draft_tokens`:
  #
  #     settings = Speculation.settings!(options, lm)                    # nil without a draft
  #     speculation = Speculation.start(settings, lm, prompt, first)     # `first` is the first token of the answer
  #     {tokens, read, sampler, caches, speculation} = Speculation.round(speculation, {lm.model, decode}, sampler, caches, most)
  #
  # A round gives one token more than were accepted, because the model says what follows the last one of them.
  #
  #   | file | has |
  #   | --- | --- |
  #   | `speculation/settings.ex` | the options |
  #   | `speculation/ngrams.ex`, `speculation/draft_model.ex` | who drafts |
  #   | `speculation/verdict.ex` | which tokens come of the model's logits |
  #   | `speculation/rejection.ex` | the rule of acceptance of drafts with probabilities |
  #   | `speculation/rewind.ex` | caches that forget what was not accepted |

  alias Mlx.LM.{Cache, Decoder, Decoding, Sampler}
  alias Mlx.LM.Speculation.{DraftModel, Ngrams, Rewind, Settings, Verdict}

  # Where caches cannot forget a part, what was accepted is read again with the next drafts. With more than this it is read
  # without drafts, after which nothing can be lost.
  @most_unread 8

  @enforce_keys [:drafter, :most, :text, :total, :unread]
  defstruct @enforce_keys ++ [rounds: 0, drafted: 0, accepted: 0]

  @typedoc """
  `text` are all tokens, the latest first, and `total` is their number. `unread` are those at the end that are not in the
  model's caches, of which there is at least one.
  """
  @type t :: %__MODULE__{
          drafter: struct(),
          most: pos_integer(),
          text: [non_neg_integer(), ...],
          total: pos_integer(),
          unread: [non_neg_integer(), ...],
          rounds: non_neg_integer(),
          drafted: non_neg_integer(),
          accepted: non_neg_integer()
        }

  defdelegate settings!(options, lm), to: Settings, as: :new!

  @doc "The speculation of a generation whose prompt is read, and of which the first token is known."
  @spec start(Settings.t(), Mlx.LM.t(), [non_neg_integer()], non_neg_integer()) :: t()
  def start(%{draft: draft, most: most}, lm, prompt, first) do
    drafter =
      case draft do
        %Mlx.LM{model: model} -> DraftModel.new(model, lm.model.config.vocabulary)
        {:ngram, options} -> options |> Ngrams.new() |> Ngrams.append(prompt ++ [first])
      end

    text = [first | Enum.reverse(prompt)]
    %__MODULE__{drafter: drafter, most: most, text: text, total: length(text), unread: [first]}
  end

  @doc """
  The next tokens, up to `most`, each with the sampler that chose it (the model comes with its step of one token); the tokens that the caches have read then, the
  latest first; the sampler and the caches for the next round.
  """
  @spec round(t(), {Decoder.t(), Decoding.t()}, Sampler.t(), [Cache.t()], pos_integer()) ::
          {[{non_neg_integer(), Sampler.t()}, ...], [non_neg_integer()], Sampler.t(), [Cache.t()], t()}
  def round(%__MODULE__{unread: unread} = speculation, {model, decode}, sampler, caches, most) do
    wanted = if length(unread) > @most_unread, do: 0, else: min(speculation.most, most - 1)
    {drafts, probabilities, drafter, sampler, key} = draft(speculation, wanted, sampler)

    [%{length: start} | _] = caches

    {chosen, sampler, caches} =
      case {unread, drafts} do
        {[id], []} -> step(decode, id, sampler, caches)
        _several -> check(model, unread, drafts, probabilities, sampler, caches, key)
      end

    [%{length: held} | _] = caches
    ids = for {id, _sampler} <- chosen, do: id
    {read, unread} = Enum.split(unread ++ ids, held - start)
    accepted = length(ids) - 1
    total = speculation.total + accepted + 1

    {chosen, Enum.reverse(read), sampler, caches,
     %{
       speculation
       | drafter: told(drafter, ids, total),
         text: Enum.reverse(ids, speculation.text),
         total: total,
         unread: unread,
         rounds: speculation.rounds + 1,
         drafted: speculation.drafted + length(drafts),
         accepted: speculation.accepted + accepted
     }}
  end

  # Without drafts it is the step of a generation without them.
  defp step(decode, id, sampler, caches) do
    {token, sampler, caches} = Decoding.next(decode, Mlx.array([id], type: :s32), sampler, caches)
    {token, last} = Mlx.eval({token, sampler.last})
    sampler = %{sampler | last: last}
    {[{Mlx.to_number(token), sampler}], sampler, caches}
  end

  defp check(model, unread, drafts, probabilities, sampler, [%{length: start} | _] = caches, key) do
    {pending, count} = {length(unread), length(drafts)}
    kept = Rewind.keep(caches, pending + count)
    tokens = [Mlx.array(unread, type: :s32) | drafts] |> Mlx.concatenate() |> Mlx.new_axis(0)
    {logits, caches} = Decoder.logits(model, tokens, caches)
    rows = for place <- (pending - 1)..(pending + count - 1), do: row(logits, place)
    {chosen, sampler} = Verdict.of(rows, drafts, probabilities, sampler, key)
    {chosen, sampler, Rewind.to(Mlx.eval(caches), kept, start, start + pending + length(chosen) - 1)}
  end

  defp row(logits, place) do
    {1, _count, vocabulary} = logits.shape
    logits |> Mlx.slice([0, place, 0], [1, 1, vocabulary]) |> Mlx.squeeze(axes: [1])
  end

  defp draft(%{drafter: drafter}, 0, sampler), do: {[], nil, drafter, sampler, nil}

  defp draft(%{drafter: %Ngrams{} = drafter}, count, sampler) do
    {for(id <- Ngrams.draft(drafter, count), do: Mlx.array([id], type: :s32)), nil, drafter, sampler, nil}
  end

  defp draft(%{drafter: %DraftModel{} = drafter} = speculation, count, sampler) do
    {sampler, draft_sampler, key} = Verdict.keys(sampler)

    {drafts, probabilities, drafter} =
      DraftModel.draft(drafter, speculation.text, speculation.total, count, draft_sampler)

    {drafts, probabilities, drafter, sampler, key}
  end

  defp told(%Ngrams{} = drafter, ids, _total), do: Ngrams.append(drafter, ids)
  defp told(%DraftModel{} = drafter, _ids, total), do: DraftModel.settle(drafter, total)

  @doc "The figures for a response; nil without speculation."
  @spec figures(t() | nil) :: map() | nil
  def figures(nil), do: nil
  def figures(%__MODULE__{} = speculation), do: Map.take(speculation, [:rounds, :drafted, :accepted])

  @doc "Gives up the arrays of the drafter."
  @spec release(t() | nil) :: :ok
  def release(%__MODULE__{drafter: %DraftModel{} = drafter}), do: DraftModel.release(drafter)
  def release(_none), do: :ok
end
