defmodule Mlx.LM.HTTP.Chat.Stream do
  @moduledoc false
  # The chunks of a chat that is streamed. The first of an answer has the role, the last one of it the reason of its end.

  alias Mlx.LM.HTTP.{Answer, Chat, Failure, Job, Reply, Tooling}

  @doc "The last piece of a stream that fails."
  @spec failed(Failure.t(), map()) :: iodata()
  def failed(failure, _state), do: [Reply.event(nil, Failure.body(failure, :openai)), done()]

  @spec step(Job.event(), map()) :: {:more, iodata(), map()} | {:end, iodata()}
  def step({index, event}, state) do
    {items, answer} = Answer.event(state.answers[index], event)
    {pieces, answer} = Enum.map_reduce(items, answer, &piece(&1, &2, index, state))
    pieces = if state.begun or pieces == [], do: pieces, else: [roles(state), pieces]
    ended = Enum.any?(items, &match?({:done, _response}, &1))
    state = put_in(state.answers[index], answer)
    state = %{state | begun: state.begun or pieces != [], left: if(ended, do: state.left - 1, else: state.left)}
    if state.left == 0, do: {:end, [pieces, usage(state), done()]}, else: {:more, pieces, state}
  end

  defp done, do: "data: [DONE]\n\n"

  defp roles(state) do
    for {index, _answer} <- Enum.sort(state.answers),
        do: chunk(state, index, %{role: "assistant", content: ""}, nil, nil)
  end

  defp piece({:done, _response}, answer, index, state) do
    {logprobs, answer} = logprobs(answer, state)
    {chunk(state, index, %{}, logprobs, Chat.finish_reason(answer)), answer}
  end

  defp piece(item, answer, index, state) do
    {logprobs, answer} = logprobs(answer, state)
    {chunk(state, index, delta(item), logprobs, nil), answer}
  end

  defp delta({:text, text}), do: %{content: text}
  defp delta({:thinking, text}), do: %{reasoning_content: text}
  defp delta({:call, number, call}), do: %{tool_calls: [Map.put(Tooling.call(call), :index, number)]}

  defp logprobs(answer, %{logprobs: false}), do: {nil, answer}

  defp logprobs(answer, _state) do
    case Answer.fresh(answer) do
      {[], answer} -> {nil, answer}
      {tokens, answer} -> {%{content: Enum.map(tokens, &Answer.logprob(answer, &1)), refusal: nil}, answer}
    end
  end

  defp chunk(state, index, delta, logprobs, reason) do
    choice = %{index: index, delta: delta, logprobs: logprobs, finish_reason: reason}
    chunk = Map.merge(state.head, %{object: "chat.completion.chunk", choices: [choice]})
    Reply.event(nil, if(state.usage, do: Map.put(chunk, :usage, nil), else: chunk))
  end

  defp usage(%{usage: false}), do: []

  defp usage(state) do
    answers = state.answers |> Enum.sort() |> Enum.map(&elem(&1, 1))
    Reply.event(nil, Map.merge(state.head, %{object: "chat.completion.chunk", choices: [], usage: Chat.usage(answers)}))
  end
end
