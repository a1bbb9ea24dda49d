defmodule Mlx.LM.HTTP.Responses.Stream do
  @moduledoc false
  # The events of a response that is streamed: each item of it, and each part of an item, is begun, comes in pieces, and is
  # ended with the whole of it. `open` is the item under way, `{kind, id, pieces}`, and `output` are those that are done.

  alias Mlx.LM.HTTP.{Answer, Failure, Job, Reply, Responses}

  @doc "The last piece of a stream that fails."
  @spec failed(Failure.t(), map()) :: iodata()
  def failed(failure, state) do
    {begun, state} = begin(state)
    fault = %{code: "server_error", message: failure.message}
    response = Map.merge(state.head, %{status: "failed", error: fault, output: Enum.reverse(state.output)})
    {piece, _state} = event(state, "response.failed", %{response: response})
    [begun, piece]
  end

  @spec step(Job.event(), map()) :: {:more, iodata(), map()} | {:end, iodata()}
  def step({0, event}, state) do
    {items, answer} = Answer.event(state.answer, event)
    {begun, state} = if items == [], do: {[], state}, else: begin(state)
    {pieces, state} = Enum.map_reduce(items, %{state | answer: answer}, &piece/2)
    if answer.response && items != [], do: {:end, [begun, pieces]}, else: {:more, [begun, pieces], state}
  end

  defp begin(%{begun: true} = state), do: {[], state}

  defp begin(state) do
    response = Map.merge(state.head, %{status: "in_progress", output: [], usage: nil})

    events(%{state | begun: true}, [
      {"response.created", %{response: response}},
      {"response.in_progress", %{response: response}}
    ])
  end

  defp piece({:text, text}, state), do: flow(state, :text, text)
  defp piece({:thinking, text}, state), do: flow(state, :thinking, text)

  defp piece({:call, _number, call}, state) do
    {closed, state} = close(state)
    id = Answer.id("fc_")
    place = %{item_id: id, output_index: length(state.output)}
    item = Responses.called(id, call, "completed")

    {pieces, state} =
      events(state, [
        {"response.output_item.added",
         %{output_index: place.output_index, item: Responses.called(id, call, "in_progress")}},
        {"response.function_call_arguments.delta", Map.put(place, :delta, item.arguments)},
        {"response.function_call_arguments.done", Map.merge(place, %{name: call.name, arguments: item.arguments})},
        {"response.output_item.done", %{output_index: place.output_index, item: item}}
      ])

    {[closed, pieces], %{state | output: [item | state.output]}}
  end

  defp piece({:done, _response}, state) do
    {closed, state} = close(state)
    response = Responses.whole(state, Enum.reverse(state.output))
    {pieces, state} = event(state, "response.#{response.status}", %{response: response})
    {[closed, pieces], state}
  end

  # Text of one kind after the other is of one item.
  defp flow(%{open: {kind, id, pieces}} = state, kind, text) do
    {piece, state} =
      event(state, name(kind, "delta"), Map.merge(place(state, kind, id), %{delta: text} |> logged(kind)))

    {piece, %{state | open: {kind, id, [pieces, text]}}}
  end

  defp flow(state, kind, text) do
    {closed, state} = close(state)
    id = Answer.id(if(kind == :text, do: "msg_", else: "rs_"))

    added =
      {"response.output_item.added", %{output_index: length(state.output), item: item(kind, id, nil, "in_progress")}}

    {begun, state} = events(state, [added | parts(state, kind, id, "added", "")])
    {piece, state} = flow(%{state | open: {kind, id, []}}, kind, text)
    {[closed, begun, piece], state}
  end

  defp close(%{open: nil} = state), do: {[], state}

  defp close(%{open: {kind, id, pieces}} = state) do
    text = IO.iodata_to_binary(pieces)
    item = item(kind, id, text, "completed")
    told = {name(kind, "done"), Map.merge(place(state, kind, id), %{text: text} |> logged(kind))}
    done = {"response.output_item.done", %{output_index: length(state.output), item: item}}
    {pieces, state} = events(state, [told] ++ parts(state, kind, id, "done", text) ++ [done])
    {pieces, %{state | open: nil, output: [item | state.output]}}
  end

  defp name(:text, event), do: "response.output_text.#{event}"
  defp name(:thinking, event), do: "response.reasoning_text.#{event}"

  defp item(:text, id, text, status), do: Responses.said(id, text, status)
  defp item(:thinking, id, text, status), do: Responses.reasoning(id, text || "", status)

  defp place(state, _kind, id), do: %{item_id: id, output_index: length(state.output), content_index: 0}

  defp logged(value, :text), do: Map.put(value, :logprobs, [])
  defp logged(value, :thinking), do: value

  defp parts(state, :text, id, event, text),
    do: [{"response.content_part.#{event}", Map.put(place(state, :text, id), :part, Responses.part(text))}]

  defp parts(_state, :thinking, _id, _event, _text), do: []

  defp events(state, list), do: Enum.map_reduce(list, state, fn {type, value}, state -> event(state, type, value) end)

  defp event(state, type, value) do
    piece = Reply.event(type, Map.merge(value, %{type: type, sequence_number: state.sequence}))
    {piece, %{state | sequence: state.sequence + 1}}
  end
end
