defmodule Mlx.LM.Generation do
  @moduledoc """
  Generates text token by token.

  It works one token ahead: the graph of the next token is built from the last one before that is known, and MLX is asked
  to compute it, and only then is the last token read. So MLX always has something to do.
  """

  use Mlx.Arguments.Mismatch

  alias Mlx.{Memory, Tree}
  alias Mlx.Arguments.{ArgumentType, CalledFunction, Given, Options}
  alias Mlx.LM.{Cache, CacheChoice, Context, Decoder, Decoding, Grammar, Response, Sampler, Speculation, StopStrings}
  alias Mlx.LM.Tokenizer
  alias Mlx.LM.Sampler.OptionTable
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
    :tokenizer,
    :end_ids,
    :prompt,
    :sampler,
    :decoder,
    :stop,
    :step,
    :progress,
    :caches,
    :choice,
    :grammar,
    :fed,
    :left,
    :started
  ]
  # `ready` are tokens that are known and not yet given, each with the sampler that chose it.
  defstruct @enforce_keys ++ [:token, :read, :first_token, :speculation, ids: [], text: [], logprobs: [], ready: []]

  @doc """
  The stream of events of a generation: pieces of text, and at last the response. See `Mlx.LM.events/3` for the options.

  Options and the prompt are checked at once; the model runs when the stream does.
  """
  @spec events(Mlx.LM.t(), [non_neg_integer()], keyword()) :: Enumerable.t()
  def events(%Mlx.LM{} = lm, prompt, options) do
    known = OptionTable.defaults(@table) ++ for(name <- Sampler.options(), do: {name, nil})
    complete = Options.complete(options, :"LM.Generation.events", known)
    sampling = sampling(lm, Keyword.take(options, Sampler.options()))

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
      grammar: Grammar.place!(options[:grammar], lm.tokenizer, end_ids(lm, options)),
      draft: Speculation.settings!(options, lm)
    }
  end

  defp check_context!(context, choice) do
    Context.check_unused!(context)
    CacheChoice.check_context!(context.caches, choice)
  end

  # As mlx-lm's commands, XTC leaves what ends a line or the text as it is.
  defp sampling(lm, options) do
    Keyword.put_new_lazy(options, :xtc_special_tokens, fn ->
      if options[:xtc_probability] in [nil, 0, 0.0],
        do: [],
        else:
          Enum.uniq(Enum.to_list(lm.tokenizer.end_ids) ++ Tokenizer.encode(lm.tokenizer, "\n", bos: false, eos: false))
    end)
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
    caches |> Tree.arrays() |> Enum.each(&Mlx.deallocate/1)
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
        tokenizer: lm.tokenizer,
        end_ids: end_ids(lm, options),
        prompt: length(prompt),
        sampler: Sampler.observe(sampler, Mlx.array([prompt])),
        decoder: StreamDecoder.new(lm.tokenizer, special: options[:special]),
        stop: stop,
        step: options[:prefill_step],
        progress: options[:progress] || fn _progress -> :ok end,
        caches: context.caches,
        choice: choice,
        grammar: grammar,
        fed: Enum.reverse(prompt),
        left: min(options[:max_tokens], lm.model.config.context_length - length(prompt) + 1),
        started: started
      },
      rest
    )
  end

  # The first token is known before somebody drafts those after it.
  defp speculate(state, nil, _lm, _prompt), do: state

  defp speculate(state, draft, lm, prompt) do
    first = Mlx.to_number(state.token)
    %{state | speculation: Speculation.start(draft, lm, prompt, first), ready: [{first, state.sampler}]}
  end

  # What was compiled with functions of the user's own, or for other caches than the model's, is of no use to others, so it
  # ends with the generation.
  defp decode(lm, %Sampler{logits_processors: [], sampler: nil}, caches) do
    if Enum.map(caches, &Cache.emptied/1) == Decoder.caches(lm.model),
      do: lm.decode,
      else: Decoding.compile(lm.model, caches)
  end

  defp decode(lm, _sampler, caches), do: Decoding.compile(lm.model, caches)

  defp end_ids(lm, options) do
    cond do
      options[:stop_ids] -> MapSet.new(options[:stop_ids])
      options[:ignore_eos] -> MapSet.new()
      true -> lm.tokenizer.end_ids
    end
  end

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
    %{schedule(state, token, sampler) | caches: caches, read: total}
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
    {token, sampler, caches} = Decoding.next(state.decode, state.token, state.sampler, state.caches)
    %{schedule(state, token, sampler) | caches: caches, left: state.left - 1}
  end

  defp schedule(state, token, sampler) do
    {token, last} = Mlx.async_eval({token, sampler.last})
    %{state | token: token, sampler: %{sampler | last: last}}
  end

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

  defp next(%__MODULE__{left: 1} = state), do: accept(state, Mlx.to_number(state.token), state.sampler, :length)

  defp next(%__MODULE__{grammar: nil} = state) do
    ahead = decode(state)
    id = Mlx.to_number(state.token)
    accept(%{ahead | fed: [id | ahead.fed]}, id, state.sampler, :continue)
  end

  # A grammar says what may follow once the token is known. The model reads it meanwhile.
  defp next(state) do
    {logits, ahead} = forward(state)
    id = Mlx.to_number(state.token)
    ahead = %{ahead | fed: [id | ahead.fed]}

    case id not in state.end_ids && Grammar.accept(state.grammar, id) do
      false ->
        accept(ahead, id, state.sampler, :continue)

      grammar ->
        {ahead, outcome} = choose(%{ahead | grammar: grammar}, logits, Grammar.finished?(grammar))
        accept(ahead, id, state.sampler, outcome)
    end
  end

  defp forward(state) do
    state = quantized(state)
    {logits, nil, caches} = Decoding.next(state.decode, state.token, nil, state.caches)
    {Mlx.async_eval(logits), %{state | caches: caches, left: state.left - 1}}
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
  defp accept(state, id, sampler, outcome) do
    state = first_token(state)

    if id in state.end_ids do
      finish(state, flush(state), :stop, 1)
    else
      {text, decoder} = StreamDecoder.push(state.decoder, id)
      {events, state} = told(%{state | decoder: decoder, ids: [id | state.ids]}, sampler)
      {more, state} = emit(state, StopStrings.push(state.stop, text), outcome)
      {events ++ more, state}
    end
  end

  defp first_token(%__MODULE__{first_token: nil, read: read} = state) do
    state.progress.({:prefill, read, read})
    %{state | first_token: System.monotonic_time()}
  end

  defp first_token(state), do: state

  defp told(state, %Sampler{last: nil}), do: {[], state}

  defp told(state, sampler) do
    token = Sampler.logprobs(sampler)
    {[{:token, token}], %{state | logprobs: [token | state.logprobs]}}
  end

  defp emit(state, {:stop, text}, _outcome), do: finish(state, text, :stop, 0)

  defp emit(state, {:continue, text, stop}, reason) when reason in [:length, :stop] do
    state = %{state | stop: stop}
    finish(state, text <> flush(state), reason, 0)
  end

  defp emit(state, {:continue, "", stop}, :continue), do: {[], %{state | stop: stop}}

  defp emit(state, {:continue, text, stop}, :continue),
    do: {[{:text, text}], %{state | stop: stop, text: [state.text, text]}}

  # The text that still waits for a character or a stop string to be complete.
  defp flush(state) do
    case StopStrings.push(state.stop, StreamDecoder.flush(state.decoder)) do
      {:stop, text} -> text
      {:continue, text, stop} -> text <> StopStrings.flush(stop)
    end
  end

  defp finish(state, text, reason, end_tokens) do
    Speculation.release(state.speculation)
    last = if text == "", do: [], else: [{:text, text}]
    {last ++ [{:done, response(state, text, reason, end_tokens)}], :done}
  end

  defp response(state, text, reason, end_tokens) do
    generated = length(state.ids) + end_tokens

    %Response{
      text: IO.iodata_to_binary([state.text, text]),
      ids: Enum.reverse(state.ids),
      logprobs: state.sampler.logprobs && Enum.reverse(state.logprobs),
      finish_reason: reason,
      prompt_tokens: state.prompt,
      cached_tokens: state.prompt - state.read,
      prompt_tokens_per_second: rate(state.read, state.started, state.first_token),
      generated_tokens: generated,
      generation_tokens_per_second: rate(generated - 1, state.first_token, System.monotonic_time()),
      peak_memory: Mlx.Memory.peak(),
      context: %Context{ids: Enum.reverse(state.fed), caches: state.caches},
      speculation: Speculation.figures(state.speculation)
    }
  end

  defp rate(0, _from, _to), do: nil
  defp rate(count, from, to), do: count * System.convert_time_unit(1, :second, :native) / max(to - from, 1)

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
