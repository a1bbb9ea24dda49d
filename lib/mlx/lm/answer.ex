defmodule Mlx.LM.Answer do
  @moduledoc false
  # What a model answers, of a generation as of a request to a server: it takes a token at a time, gives events as
  # `Mlx.LM.events/3` has them, and at last the response. Text waits until its characters and stop strings are whole.

  alias Mlx.LM.{Response, Sampler, StopStrings, Tokenizer}
  alias Mlx.LM.Tokenizer.StreamDecoder

  # `prompt` tokens are those of the prompt, of which `read` were not known before; `first` is when the first token came.
  @enforce_keys [:prompt, :read, :end_ids, :decoder, :stop, :started]
  defstruct @enforce_keys ++ [:first, ids: [], text: [], logprobs: []]

  @type t :: %__MODULE__{
          prompt: pos_integer(),
          read: non_neg_integer(),
          end_ids: MapSet.t(Tokenizer.id()),
          decoder: StreamDecoder.t(),
          stop: StopStrings.t(),
          started: integer(),
          first: integer() | nil,
          ids: [Tokenizer.id()],
          text: iodata(),
          logprobs: [Response.token()]
        }

  @doc "The tokens that end an answer, by the options `:stop_ids` and `:ignore_eos`."
  @spec end_ids(Tokenizer.t(), keyword()) :: MapSet.t(Tokenizer.id())
  def end_ids(tokenizer, options) do
    cond do
      options[:stop_ids] -> MapSet.new(options[:stop_ids])
      options[:ignore_eos] -> MapSet.new()
      true -> tokenizer.end_ids
    end
  end

  @doc """
  Takes the next token. `sampler` is the one that chose it, and `outcome` says whether the answer goes on after it. The
  response has neither a context nor figures of drafts.
  """
  @spec push(t(), Tokenizer.id(), Sampler.t(), :continue | :length | :stop) ::
          {:more, [term()], t()} | {:done, [term()], Response.t()}
  def push(%__MODULE__{} = answer, id, sampler, outcome) do
    answer = %{answer | first: answer.first || System.monotonic_time()}

    if id in answer.end_ids do
      finish(answer, [], flush(answer), {:stop, 1}, sampler)
    else
      {text, decoder} = StreamDecoder.push(answer.decoder, id)
      {events, answer} = told(%{answer | decoder: decoder, ids: [id | answer.ids]}, sampler)
      give(answer, events, StopStrings.push(answer.stop, text), outcome, sampler)
    end
  end

  defp told(answer, %Sampler{last: nil}), do: {[], answer}

  defp told(answer, sampler) do
    token = Sampler.logprobs(sampler)
    {[{:token, token}], %{answer | logprobs: [token | answer.logprobs]}}
  end

  defp give(answer, events, {:stop, text}, _outcome, sampler), do: finish(answer, events, text, {:stop, 0}, sampler)

  defp give(answer, events, {:continue, text, stop}, :continue, _sampler) do
    {:more, events ++ text(text), %{answer | stop: stop, text: [answer.text, text]}}
  end

  defp give(answer, events, {:continue, text, stop}, reason, sampler) do
    finish(answer, events, text <> flush(%{answer | stop: stop}), {reason, 0}, sampler)
  end

  # The text that still waits for a character or a stop string to be complete.
  defp flush(answer) do
    case StopStrings.push(answer.stop, StreamDecoder.flush(answer.decoder)) do
      {:stop, text} -> text
      {:continue, text, stop} -> text <> StopStrings.flush(stop)
    end
  end

  defp finish(answer, events, text, {reason, end_tokens}, sampler) do
    generated = length(answer.ids) + end_tokens

    response = %Response{
      text: IO.iodata_to_binary([answer.text, text]),
      ids: Enum.reverse(answer.ids),
      logprobs: sampler.logprobs && Enum.reverse(answer.logprobs),
      finish_reason: reason,
      prompt_tokens: answer.prompt,
      cached_tokens: answer.prompt - answer.read,
      prompt_tokens_per_second: rate(answer.read, answer.started, answer.first),
      generated_tokens: generated,
      generation_tokens_per_second: rate(generated - 1, answer.first, System.monotonic_time()),
      peak_memory: Mlx.Memory.peak(),
      context: nil
    }

    {:done, events ++ text(text), response}
  end

  defp text(""), do: []
  defp text(text), do: [{:text, text}]

  defp rate(0, _from, _to), do: nil
  defp rate(count, from, to), do: count * System.convert_time_unit(1, :second, :native) / max(to - from, 1)
end
