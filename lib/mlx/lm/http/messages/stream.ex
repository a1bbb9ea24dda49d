defmodule Mlx.LM.HTTP.Messages.Stream do
  @moduledoc false
  # The events of a message that is streamed: each block of it is begun, comes in pieces, and is ended.

  alias Mlx.LM.HTTP.{Answer, Failure, Job, Messages, Reply}

  @doc "The last piece of a stream that fails."
  @spec failed(Failure.t(), map()) :: iodata()
  def failed(failure, _state), do: Reply.event("error", Failure.body(failure, :anthropic))

  @spec step(Job.event(), map()) :: {:more, iodata(), map()} | {:end, iodata()}
  def step({0, event}, state) do
    {items, answer} = Answer.event(state.answer, event)
    {pieces, state} = Enum.map_reduce(items, %{state | answer: answer}, &piece/2)
    if answer.response && items != [], do: {:end, pieces}, else: {:more, pieces, state}
  end

  defp piece(item, %{begun: false} = state) do
    # How long the prompt was is only known at the end, where it is told.
    usage = %{input_tokens: 0, output_tokens: 0, cache_read_input_tokens: 0, cache_creation_input_tokens: 0}
    message = Messages.message(state, [], nil, nil, usage)
    {pieces, state} = piece(item, %{state | begun: true})
    {[event(%{type: "message_start", message: message}), pieces], state}
  end

  defp piece({:text, text}, state) do
    {opened, state} = open(state, :text, %{type: "text", text: ""})
    {[opened, delta(state, %{type: "text_delta", text: text})], state}
  end

  defp piece({:thinking, text}, state) do
    {opened, state} = open(state, :thinking, %{type: "thinking", thinking: "", signature: ""})
    {[opened, delta(state, %{type: "thinking_delta", thinking: text})], state}
  end

  defp piece({:call, number, call}, state) do
    block = %{type: "tool_use", id: call.id, name: call.name, input: %{}}
    {opened, state} = open(state, {:call, number}, block)
    {[opened, delta(state, %{type: "input_json_delta", partial_json: JSON.encode!(call.arguments)})], state}
  end

  defp piece({:done, response}, state) do
    {reason, stop} = Messages.reason(state.answer, state.stops)

    ended = %{
      type: "message_delta",
      delta: %{stop_reason: reason, stop_sequence: stop},
      usage: Messages.usage(response)
    }

    {[close(state), event(ended), event(%{type: "message_stop"})], state}
  end

  defp open(%{open: kind} = state, kind, _block), do: {[], state}

  defp open(state, kind, block) do
    begun = event(%{type: "content_block_start", index: state.blocks, content_block: block})
    {[close(state), begun], %{state | open: kind, blocks: state.blocks + 1}}
  end

  defp close(%{open: nil}), do: []

  defp close(state) do
    index = state.blocks - 1
    signed = if state.open == :thinking, do: delta_of(index, %{type: "signature_delta", signature: ""}), else: []
    [signed, event(%{type: "content_block_stop", index: index})]
  end

  defp delta(state, delta), do: delta_of(state.blocks - 1, delta)
  defp delta_of(index, delta), do: event(%{type: "content_block_delta", index: index, delta: delta})

  defp event(%{type: type} = value), do: Reply.event(type, value)
end
