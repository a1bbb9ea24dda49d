defmodule Mlx.LM.HTTP.Responses do
  @moduledoc false
  # `/v1/responses`, OpenAI's newer interface. Nothing is kept here after an answer, so what was said before comes with the
  # request.

  alias Mlx.LM.HTTP.{
    Answer,
    Failure,
    Fields,
    Job,
    Models,
    Prompt,
    Reply,
    Responses,
    Sampling,
    Settings,
    Structured,
    Tooling
  }

  @rows Sampling.rows(["temperature", "top_p", "top_k", "min_p", "seed", "stop"]) ++
          [
            {"model", :string, :keep},
            {"input", {:required, {:either, [:string, {:list, :object}]}}, :keep},
            {"instructions", :string, :keep},
            {"max_output_tokens", {:integer, 1, nil}, {:option, :max_tokens}},
            {"stream", :boolean, :keep},
            {"stream_options", {:fields, [{"include_obfuscation", {:one_of, [false]}, :nothing}]}, :nothing},
            {"tools", {:list, :object}, :keep},
            {"tool_choice", {:either, [:string, :object]}, :keep},
            {"parallel_tool_calls", :boolean, :keep},
            {"text", {:fields, [{"format", :object, :keep}, {"verbosity", {:one_of, ["medium"]}, :nothing}]}, :keep},
            {"reasoning", {:fields, [{"effort", :string, :keep}, {"summary", :unsupported, :nothing}]}, :keep},
            {"metadata", {:map, :string}, :keep},
            {"truncation", {:one_of, ["disabled"]}, :nothing},
            {"store", {:one_of, [false, true]}, :nothing},
            {"include", {:one_of, [[]]}, :nothing},
            {"background", {:one_of, [false]}, :nothing},
            {"service_tier", {:one_of, ["auto", "default"]}, :nothing},
            {"top_logprobs", {:one_of, [0]}, :nothing},
            {"user", :string, :nothing},
            {"safety_identifier", :string, :nothing},
            {"prompt_cache_key", :string, :nothing}
          ] ++
          for(
            name <-
              ~w(context_management conversation max_tool_calls previous_response_id prompt prompt_cache_retention),
            do: {name, :unsupported, :nothing}
          )

  @tool [
    {"type", {:required, {:one_of, ["function"]}}, :nothing},
    {"name", {:required, :string}, :keep},
    {"description", :string, :keep},
    {"parameters", :object, :keep},
    {"strict", :boolean, :nothing}
  ]

  @spec call(map(), Settings.t()) :: Reply.t()
  def call(body, settings) do
    fields = Fields.read(body, @rows)
    kept = fields.kept
    model = Models.language_model!(settings, kept["model"])
    tools = Tooling.tools(kept["tools"] || [], "tools", &tool/2)
    choice = Tooling.choice(kept["tool_choice"], tools)
    template = if effort = kept["reasoning"]["effort"], do: [reasoning_effort: effort], else: []
    messages = instructions(kept["instructions"]) ++ messages(kept["input"])
    prompt = Prompt.new(model, messages, tools, choice, kept["parallel_tool_calls"] != false, template)

    options =
      Sampling.options(fields, settings, prompt.parser) ++
        [template: prompt.template] ++ Structured.options(format(kept["text"]["format"]), "text.format", prompt.grammar)

    Job.start!(model.server, [{prompt.prompt, options}]) |> reply(kept, body, model, prompt)
  end

  defp tool(tool, place) do
    tool |> Fields.read(@tool, place) |> Map.fetch!(:kept) |> Tooling.named!(place)
  end

  defp format(nil), do: :text
  defp format(%{"type" => "text"} = format) when map_size(format) == 1, do: :text
  defp format(%{"type" => "json_object"} = format) when map_size(format) == 1, do: :json_object

  defp format(%{"type" => "json_schema"} = format) do
    rows = [
      {"type", :string, :nothing},
      {"name", {:required, :string}, :nothing},
      {"description", :string, :nothing},
      {"schema", {:required, :object}, :keep},
      {"strict", :boolean, :nothing}
    ]

    {:json_schema, Fields.read(format, rows, "text.format").kept["schema"]}
  end

  defp format(_other),
    do: Failure.fail!(:invalid, "text.format.type must be one of text, json_object, json_schema", "text.format.type")

  # ---- the input, in the form of OpenAI's chats

  defp instructions(nil), do: []
  defp instructions(text), do: [%{"role" => "system", "content" => text}]

  defp messages(text) when is_binary(text), do: [%{"role" => "user", "content" => text}]
  defp messages([]), do: Failure.fail!(:invalid, "input is empty", "input")

  defp messages(items) do
    items
    |> Enum.with_index()
    |> Enum.flat_map(fn {item, index} -> item(item, "input[#{index}]") end)
    |> joined()
  end

  # What is said and the calls of one turn are one message of the assistant.
  defp joined([%{"role" => "assistant"} = a, %{"role" => "assistant", "tool_calls" => calls} = b | rest]) do
    content = a["content"] <> b["content"]
    joined([a |> Map.put("content", content) |> Map.update("tool_calls", calls, &(&1 ++ calls)) | rest])
  end

  defp joined([message | rest]), do: [message | joined(rest)]
  defp joined([]), do: []

  @status {"status", {:one_of, ["in_progress", "completed", "incomplete"]}, :nothing}
  @items %{
    "message" => [
      {"role", {:required, {:one_of, ["user", "assistant", "system", "developer"]}}, :keep},
      {"content", {:required, {:either, [:string, {:list, :object}]}}, :keep},
      {"id", :string, :nothing},
      {"phase", :string, :nothing},
      @status
    ],
    "function_call" => [
      {"call_id", {:required, :string}, :keep},
      {"name", {:required, :string}, :keep},
      {"arguments", {:required, :string}, :keep},
      {"id", :string, :nothing},
      @status
    ],
    "function_call_output" => [
      {"call_id", {:required, :string}, :keep},
      {"output", {:required, {:either, [:string, {:list, :object}]}}, :keep},
      {"id", :string, :nothing},
      @status
    ],
    "reasoning" => [
      {"id", :string, :nothing},
      {"summary", {:list, :object}, :nothing},
      {"content", {:list, :object}, :nothing},
      {"encrypted_content", :unsupported, :nothing},
      @status
    ]
  }

  defp item(item, place) do
    type = Map.get(item, "type", "message")

    if not is_map_key(@items, type) do
      text = "#{place}: an item of the type #{Fields.shown(type)} is not supported by this server"
      Failure.fail!(:unsupported, text, "#{place}.type")
    end

    item |> Map.delete("type") |> Fields.read(@items[type], place) |> Map.fetch!(:kept) |> message(type, place)
  end

  defp message(%{"role" => role, "content" => content}, "message", place) do
    [%{"role" => if(role == "developer", do: "system", else: role), "content" => Tooling.text(content, place)}]
  end

  defp message(kept, "function_call", place) do
    call = Tooling.called(kept["call_id"], kept["name"], kept["arguments"], place)
    [%{"role" => "assistant", "content" => "", "tool_calls" => [call]}]
  end

  defp message(kept, "function_call_output", place) do
    [%{"role" => "tool", "tool_call_id" => kept["call_id"], "content" => Tooling.text(kept["output"], place)}]
  end

  # What was thought is not read again.
  defp message(_kept, "reasoning", _place), do: []

  # ---- the answer

  defp reply(job, kept, body, model, prompt) do
    state = %{
      answer: Answer.new(model.tokenizer, prompt),
      head: head(kept, body, model),
      sequence: 0,
      open: nil,
      output: [],
      begun: false
    }

    if kept["stream"],
      do: Reply.events(job, &Responses.Stream.step/2, &Responses.Stream.failed/2, state),
      else: Reply.later(job, &step/2, state)
  end

  # What the interface says again of the request.
  defp head(kept, body, model) do
    %{
      id: Answer.id("resp_"),
      object: "response",
      created_at: System.os_time(:second),
      model: model.name,
      error: nil,
      incomplete_details: nil,
      instructions: kept["instructions"],
      max_output_tokens: body["max_output_tokens"],
      metadata: kept["metadata"] || %{},
      parallel_tool_calls: kept["parallel_tool_calls"] != false,
      previous_response_id: nil,
      reasoning: %{effort: kept["reasoning"]["effort"], summary: nil},
      store: false,
      temperature: body["temperature"],
      text: %{format: kept["text"]["format"] || %{type: "text"}},
      tool_choice: kept["tool_choice"] || "auto",
      tools: kept["tools"] || [],
      top_p: body["top_p"],
      truncation: "disabled"
    }
  end

  defp step({0, event}, state) do
    {items, answer} = Answer.event(state.answer, event)
    state = %{state | answer: answer}

    if answer.response && items != [],
      do: {:reply, Reply.json(200, whole(state, output(answer)))},
      else: {:more, "", state}
  end

  defp output(answer) do
    thoughts = for text when text != "" <- [Answer.thinking(answer)], do: reasoning(Answer.id("rs_"), text, "completed")
    said = for text when text != "" <- [Answer.text(answer)], do: said(Answer.id("msg_"), text, "completed")
    thoughts ++ said ++ for(call <- answer.calls, do: called(Answer.id("fc_"), call, "completed"))
  end

  @doc "An item with what was thought."
  @spec reasoning(String.t(), String.t(), String.t()) :: map()
  def reasoning(id, text, status) do
    content = if text == "", do: [], else: [%{type: "reasoning_text", text: text}]
    %{type: "reasoning", id: id, summary: [], content: content, status: status}
  end

  @doc "An item with what was said."
  @spec said(String.t(), String.t() | nil, String.t()) :: map()
  def said(id, text, status) do
    content = if text, do: [part(text)], else: []
    %{type: "message", id: id, role: "assistant", status: status, content: content}
  end

  @doc "A part of what was said."
  @spec part(String.t()) :: map()
  def part(text), do: %{type: "output_text", text: text, annotations: [], logprobs: []}

  @doc "An item with a call."
  @spec called(String.t(), map(), String.t()) :: map()
  def called(id, call, status) do
    arguments = if status == "completed", do: JSON.encode!(call.arguments), else: ""
    %{type: "function_call", id: id, call_id: call.id, name: call.name, arguments: arguments, status: status}
  end

  @doc "The response at its end, with its items."
  @spec whole(map(), [map()]) :: map()
  def whole(%{answer: %{response: response}} = state, output) do
    incomplete = response.finish_reason == :length

    Map.merge(state.head, %{
      status: if(incomplete, do: "incomplete", else: "completed"),
      incomplete_details: if(incomplete, do: %{reason: "max_output_tokens"}),
      output: output,
      usage: %{
        input_tokens: response.prompt_tokens,
        input_tokens_details: %{cached_tokens: Tooling.cached(response), cache_write_tokens: 0},
        output_tokens: response.generated_tokens,
        output_tokens_details: %{reasoning_tokens: 0},
        total_tokens: response.prompt_tokens + response.generated_tokens
      }
    })
  end
end
