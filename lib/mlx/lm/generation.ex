defmodule Mlx.LM.Generation do
  @moduledoc """
  Generates text token by token.

  It works one token ahead: the graph of the next token is built from the last one before that is known, and MLX is asked
  to compute it, and only then is the last token read. So MLX always has something to do.
  """

  use Mlx.Arguments.Mismatch

  alias Mlx.Memory
  alias Mlx.Arguments.{ArgumentType, CalledFunction, Given, Options}
  alias Mlx.LM.{Context, Decoder, Decoding, Response, Sampler, StopStrings, Tokenizer}
  alias Mlx.LM.Tokenizer.StreamDecoder

  @defaults [max_tokens: 256, stop: [], context: nil, prefill_step: 2048]

  @typedoc "A piece of text, or the end."
  @type event :: {:text, String.t()} | {:done, Response.t()}

  @enforce_keys [:model, :decode, :tokenizer, :prompt, :sampler, :decoder, :stop, :step, :caches, :fed, :left, :started]
  defstruct @enforce_keys ++ [:token, :read, :first_token, ids: [], text: []]

  @doc """
  The stream of events of a generation: pieces of text, and at last the response. See `Mlx.LM.events/3` for the options.

  Options and the prompt are checked at once; the model runs when the stream does.
  """
  @spec events(Mlx.LM.t(), [non_neg_integer()], keyword()) :: Enumerable.t()
  def events(%Mlx.LM{} = lm, prompt, options) do
    known = @defaults ++ for(name <- Sampler.options(), do: {name, nil})
    complete = Options.complete(options, :"LM.Generation.events", known)
    sampling = Keyword.take(options, Sampler.options())
    stop = CalledFunction.name("Mlx.LM.Generation.events", fn -> check!(lm, prompt, complete, sampling) end)
    stream_wired(fn -> start(lm, prompt, stop, sampling, complete) end)
  end

  # Returns the stop strings.
  defp check!(lm, prompt, options, sampling) do
    for name <- [:max_tokens, :prefill_step], do: check_positive!(name, options[name])

    if not (is_nil(options[:context]) or is_struct(options[:context], Context)) do
      raise ArgumentError, "expected :context to be an Mlx.LM.Context, got: #{Given.text(options[:context])}"
    end

    stop = StopStrings.new(options[:stop])
    Sampler.new(sampling)
    check_prompt!(lm, prompt)
    stop
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
        {ticket, _state} -> Memory.release(ticket)
        ticket -> Memory.release(ticket)
      end
    )
  end

  defp start(lm, prompt, stop, sampling, options) do
    started = System.monotonic_time()
    {context, rest} = Context.reuse(options[:context] || Context.new(lm.model), prompt)

    read(
      %__MODULE__{
        model: lm.model,
        decode: lm.decode,
        tokenizer: lm.tokenizer,
        prompt: length(prompt),
        sampler: Sampler.observe(Sampler.new(sampling), Mlx.array([prompt])),
        decoder: StreamDecoder.new(lm.tokenizer, special: false),
        stop: stop,
        step: options[:prefill_step],
        caches: context.caches,
        fed: Enum.reverse(prompt),
        left: min(options[:max_tokens], lm.model.config.context_length - length(prompt) + 1),
        started: started
      },
      rest
    )
  end

  # Reads the prompt in parts, which bounds the memory that attention takes, and schedules the first token.
  defp read(state, ids) do
    {last, parts} = ids |> Enum.chunk_every(state.step) |> List.pop_at(-1)

    caches =
      Enum.reduce(parts, state.caches, fn part, caches ->
        {_logits, caches} = Decoder.call(state.model, Mlx.array([part]), caches)
        Mlx.eval(caches)
      end)

    {logits, caches} = Decoder.call(state.model, Mlx.array([last]), caches)
    {token, sampler} = Sampler.sample(state.sampler, logits)
    %{state | token: Mlx.async_eval(token), caches: caches, sampler: sampler, read: length(ids)}
  end

  defp decode(state) do
    {token, sampler, caches} = Decoding.next(state.decode, state.token, state.sampler, state.caches)
    %{state | token: Mlx.async_eval(token), caches: caches, sampler: sampler, left: state.left - 1}
  end

  defp next(:done), do: {:halt, :done}

  defp next(%__MODULE__{token: token, left: 1} = state) do
    accept(state, Mlx.to_number(token), :length)
  end

  defp next(%__MODULE__{token: token} = state) do
    ahead = decode(state)
    id = Mlx.to_number(token)
    accept(%{ahead | fed: [id | ahead.fed]}, id, :continue)
  end

  defp accept(state, id, outcome) do
    state = %{state | first_token: state.first_token || System.monotonic_time()}

    if Tokenizer.end?(state.tokenizer, id) do
      finish(state, flush(state), :stop, 1)
    else
      {text, decoder} = StreamDecoder.push(state.decoder, id)
      emit(%{state | decoder: decoder, ids: [id | state.ids]}, StopStrings.push(state.stop, text), outcome)
    end
  end

  defp emit(state, {:stop, text}, _outcome), do: finish(state, text, :stop, 0)

  defp emit(state, {:continue, text, stop}, :length) do
    state = %{state | stop: stop}
    finish(state, text <> flush(state), :length, 0)
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
    last = if text == "", do: [], else: [{:text, text}]
    {last ++ [{:done, response(state, text, reason, end_tokens)}], :done}
  end

  defp response(state, text, reason, end_tokens) do
    generated = length(state.ids) + end_tokens

    %Response{
      text: IO.iodata_to_binary([state.text, text]),
      ids: Enum.reverse(state.ids),
      finish_reason: reason,
      prompt_tokens: state.prompt,
      prompt_tokens_per_second: rate(state.read, state.started, state.first_token),
      generated_tokens: generated,
      generation_tokens_per_second: rate(generated - 1, state.first_token, System.monotonic_time()),
      peak_memory: Mlx.Memory.peak(),
      context: %Context{ids: Enum.reverse(state.fed), caches: state.caches}
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

  defp check_positive!(_name, value) when is_integer(value) and value > 0, do: :ok

  defp check_positive!(name, value) do
    raise ArgumentError, "expected #{inspect(name)} to be a positive integer, got: #{Given.text(value)}"
  end
end
