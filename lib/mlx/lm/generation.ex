defmodule Mlx.LM.Generation do
  @moduledoc """
  Generates text token by token.

  It works one token ahead: the graph of the next token is built from the last one before that is known, and MLX is asked
  to compute it, and only then is the last token read. So MLX always has something to do.
  """

  use Mlx.Arguments.Mismatch

  alias Mlx.Memory
  alias Mlx.Arguments.{ArgumentType, CalledFunction, Given, Options}

  alias Mlx.LM.{
    Answer,
    Cache,
    CacheChoice,
    Context,
    Decoder,
    Decoding,
    Grammar,
    Response,
    Sampler,
    Speculation,
    StopStrings
  }

  alias Mlx.LM.Tokenizer
  alias Mlx.LM.Sampler.{OptionTable, SpecialTokens}
  alias Mlx.LM.Tokenizer.StreamDecoder

  @table [
    max_tokens: {256, {:integer, 1, nil}},
    stop: {[], :any},
    stop_ids: {nil, {:optional, :tokens}},
    ignore_eos: {false, :boolean},
    special: {false, {:either, [:boolean, :strings]}},
    context: {nil, {:optional, {:struct, Context}}},
    cache: {nil, :any},
    grammar: {nil, :any},
    prefill_step: {2048, {:integer, 1, nil}},
    progress: {nil, {:optional, {:function, 1}}},
    draft: {nil, :any},
    draft_tokens: {nil, {:optional, {:integer, 1, 64}}}
  ]

  @typedoc "A token with its log-probabilities, where they were asked for, a piece of text, or the end."
  @type event :: {:token, Response.token()} | {:text, String.t()} | {:done, Response.t()}

  @enforce_keys [
    :model,
    :decode,
    :answer,
    :sampler,
    :step,
    :progress,
    :caches,
    :choice,
    :grammar,
    :fed,
    :left
  ]
  # `chosen` is `token` as it is read, with what the sampler tells of it. `ready` are tokens that are known and not yet given,
  # each with the sampler that chose it.
  defstruct @enforce_keys ++ [:token, :chosen, :speculation, ready: []]

  @doc """
  The stream of events of a generation: pieces of text, and at last the response. See `Mlx.LM.events/3` for the options.

  Options and the prompt are checked at once; the model runs when the stream does.
  """
  @spec events(Mlx.LM.t(), [non_neg_integer()], keyword()) :: Enumerable.t()
  def events(%Mlx.LM{} = lm, prompt, options) do
    known = OptionTable.defaults(@table) ++ for(name <- Sampler.options(), do: {name, nil})
    complete = Options.complete(options, :"LM.Generation.events", known)
    sampling = options |> Keyword.take(Sampler.options()) |> SpecialTokens.put(lm.tokenizer)

    checked = CalledFunction.name("Mlx.LM.Generation.events", fn -> check!(lm, prompt, complete, sampling) end)
    stream_wired(fn -> lm |> start(prompt, checked, sampling, complete) |> speculate(checked.draft, lm, prompt) end)
  end

  # Returns the stop strings, the choice of caches, the place in the grammar, and who drafts.
  defp check!(lm, prompt, options, sampling) do
    OptionTable.check!(@table, options)
    stop = StopStrings.new(options[:stop])
    sampling |> Sampler.new() |> Sampler.check_vocabulary!(Tokenizer.size(lm.tokenizer), "Mlx.LM.Generation.events")
    check_prompt!(lm, prompt)
    choice = CacheChoice.new!(options[:cache], lm.model)
    if options[:context], do: check_context!(options[:context], choice)

    %{
      stop: stop,
      choice: choice,
      grammar: Grammar.Place.of_option!(options[:grammar], lm.tokenizer, Answer.end_ids(lm.tokenizer, options)),
      draft: Speculation.settings!(options, lm)
    }
  end

  defp check_context!(context, choice) do
    Context.check_unused!(context)
    CacheChoice.check_context!(context.caches, choice)
  end

  # The model stays in the memory of a GPU while the stream runs.
  defp stream_wired(start) do
    Stream.resource(
      fn -> Memory.wire() end,
      fn
        {ticket, state} ->
          {events, state} = next(state)
          {events, {ticket, state}}

        ticket ->
          {[], {ticket, start.()}}
      end,
      fn
        {ticket, state} ->
          abandon(state)
          Memory.release(ticket)

        ticket ->
          Memory.release(ticket)
      end
    )
  end

  # Nobody else has the caches of a generation that was left before its end.
  defp abandon(:done), do: :ok

  defp abandon(%__MODULE__{caches: caches, speculation: speculation}) do
    Cache.release(caches)
    Speculation.release(speculation)
  end

  defp start(lm, prompt, %{stop: stop, choice: choice, grammar: grammar}, sampling, options) do
    started = System.monotonic_time()
    {context, rest} = Context.reuse(options[:context] || Context.new(lm.model, choice), prompt)
    sampler = Sampler.new(sampling)

    read(
      %__MODULE__{
        model: lm.model,
        decode: decode(lm, sampler, context.caches),
        answer: %Answer{
          prompt: length(prompt),
          read: length(rest),
          end_ids: Answer.end_ids(lm.tokenizer, options),
          decoder: StreamDecoder.new(lm.tokenizer, special: options[:special]),
          stop: stop,
          started: started
        },
        sampler: Sampler.observe(sampler, Mlx.array([prompt])),
        step: options[:prefill_step],
        progress: options[:progress] || fn _progress -> :ok end,
        caches: context.caches,
        choice: choice,
        grammar: grammar,
        fed: Enum.reverse(prompt),
        left: min(options[:max_tokens], lm.model.config.context_length - length(prompt) + 1)
      },
      rest
    )
  end

  # The first token is known before somebody drafts those after it.
  defp speculate(state, nil, _lm, _prompt), do: state

  defp speculate(state, draft, lm, prompt) do
    {first, sampler} = known(state)
    %{state | speculation: Speculation.start(draft, lm, prompt, first), ready: [{first, sampler}]}
  end

  # What was compiled with functions of the user's own, or for other caches than the model's, is of no use to others, so it
  # ends with the generation.
  defp decode(lm, %Sampler{logits_processors: [], sampler: nil}, caches) do
    if Enum.map(caches, &Cache.emptied/1) == Decoder.caches(lm.model),
      do: lm.decode,
      else: Decoding.compile(lm.model, caches)
  end

  defp decode(lm, _sampler, caches), do: Decoding.compile(lm.model, caches)

  # Reads the prompt in parts, which bounds the memory that attention takes, and schedules the first token.
  defp read(state, ids) do
    total = length(ids)
    {last, parts} = parts(ids, state)
    state.progress.({:prefill, 0, total})

    {state, _done} =
      Enum.reduce(parts, {state, 0}, fn part, {state, done} ->
        {_logits, caches} = Decoder.call(state.model, Mlx.array([part]), state.caches)
        done = done + length(part)
        state = quantized(%{state | caches: Mlx.eval(caches)})
        state.progress.({:prefill, done, total})
        {state, done}
      end)

    {logits, caches} = Decoder.call(state.model, Mlx.array([last]), state.caches)
    {token, sampler} = sample(state, logits)
    schedule(%{state | caches: caches}, token, sampler)
  end

  # With caches of another kind the last token is read by itself, so that it sees them as the tokens after it do.
  defp parts(ids, %{choice: nil, step: step}), do: ids |> Enum.chunk_every(step) |> List.pop_at(-1)

  defp parts(ids, %{step: step}) do
    {last, before} = List.pop_at(ids, -1)
    {[last], Enum.chunk_every(before, step)}
  end

  # The caches quantized, once they are as long as it was asked for.
  defp quantized(%__MODULE__{choice: nil} = state), do: state

  defp quantized(state) do
    case CacheChoice.quantize(state.caches, state.choice) do
      {_caches, false} -> state
      {caches, true} -> %{state | caches: caches, decode: Decoding.compile(state.model, caches)}
    end
  end

  defp decode(state) do
    state = quantized(state)
    {chosen, token, sampler, caches} = Decoding.start(state.decode, state.token, state.sampler, state.caches)
    %{state | chosen: chosen, token: token, sampler: sampler, caches: caches, left: state.left - 1}
  end

  defp schedule(state, token, sampler) do
    {chosen, token, caches} = Decoding.begin(token, sampler, state.caches)
    %{state | chosen: chosen, token: token, sampler: sampler, caches: caches}
  end

  # The token that was chosen, and the sampler that chose it.
  defp known(%__MODULE__{chosen: {token, last}, sampler: sampler}), do: {Mlx.to_number(token), %{sampler | last: last}}

  defp next(:done), do: {:halt, :done}

  defp next(%__MODULE__{ready: [{id, sampler} | ready], left: left} = state) do
    accept(%{state | ready: ready, left: left - 1}, id, sampler, if(left == 1, do: :length, else: :continue))
  end

  defp next(%__MODULE__{speculation: %Speculation{} = speculation} = state) do
    state = quantized(state)

    {ready, read, sampler, caches, speculation} =
      Speculation.round(speculation, {state.model, state.decode}, state.sampler, state.caches, state.left)

    next(%{state | ready: ready, fed: read ++ state.fed, sampler: sampler, caches: caches, speculation: speculation})
  end

  defp next(%__MODULE__{left: 1} = state) do
    {id, sampler} = known(state)
    accept(state, id, sampler, :length)
  end

  defp next(%__MODULE__{grammar: nil} = state) do
    ahead = decode(state)
    {id, sampler} = known(state)
    accept(%{ahead | fed: [id | ahead.fed]}, id, sampler, :continue)
  end

  # A grammar says what may follow once the token is known. The model reads it meanwhile.
  defp next(state) do
    {logits, ahead} = forward(state)
    {id, sampler} = known(state)
    ahead = %{ahead | fed: [id | ahead.fed]}

    case id not in state.answer.end_ids && Grammar.accept(state.grammar, id) do
      false ->
        accept(ahead, id, sampler, :continue)

      grammar ->
        {ahead, outcome} = choose(%{ahead | grammar: grammar}, logits, Grammar.finished?(grammar))
        accept(ahead, id, sampler, outcome)
    end
  end

  defp forward(state) do
    state = quantized(state)
    {logits, caches} = Decoding.forward(state.decode, state.token, state.caches)
    {logits, %{state | caches: caches, left: state.left - 1}}
  end

  # Without end tokens a text of which nothing may follow is at its end.
  defp choose(state, _logits, true), do: {state, :stop}

  defp choose(state, logits, false) do
    {token, sampler} = sample(state, logits)
    {schedule(state, token, sampler), :continue}
  end

  defp sample(%{grammar: nil} = state, logits), do: Sampler.sample(state.sampler, logits)

  defp sample(state, logits),
    do: Sampler.sample(state.sampler, Grammar.apply_masks(logits, [Grammar.mask(state.grammar)]))

  # `sampler` is the one that chose the token.
  defp accept(%__MODULE__{answer: %{first: first, read: read}} = state, id, sampler, outcome) do
    if first == nil, do: state.progress.({:prefill, read, read})

    case Answer.push(state.answer, id, sampler, outcome) do
      {:more, events, answer} ->
        {events, %{state | answer: answer}}

      {:done, events, response} ->
        Speculation.release(state.speculation)
        context = %Context{ids: Enum.reverse(state.fed), caches: state.caches}
        response = %{response | context: context, speculation: Speculation.figures(state.speculation)}
        {events ++ [{:done, response}], :done}
    end
  end

  defp check_prompt!(lm, prompt) do
    if not ArgumentType.list?(prompt) do
      raise ArgumentError, "expected the prompt to be a list of tokens, got: #{Given.text(prompt)}"
    end

    if prompt == [], do: raise(ArgumentError, "the prompt is empty")
    context_length = lm.model.config.context_length

    if length(prompt) > context_length do
      raise Mlx.Error,
            "the prompt has #{length(prompt)} tokens, more than the model's context length of #{context_length}"
    end

    # Raises for what is not in the vocabulary.
    Enum.each(prompt, &Tokenizer.bytes(lm.tokenizer, &1))
  end
end
