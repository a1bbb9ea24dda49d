defmodule Mlx.LM.HTTP.Messages do
  @moduledoc false
  # `/v1/messages`, Anthropic's interface.

  alias Mlx.LM.HTTP.{
    Answer,
    Failure,
    Fields,
    Job,
    Messages,
    Models,
    Prompt,
    Reply,
    Sampling,
    Settings,
    Structured,
    Tooling
  }

  alias Mlx.LM.HTTP.Messages.Conversation

  # What the prompt is made of.
  @asked [
    {"model", {:required, :string}, :keep},
    {"messages", {:required, {:list, :object}}, :keep},
    {"system", {:either, [:string, {:list, :object}]}, :keep},
    {"tools", {:list, :object}, :keep},
    {"tool_choice", :object, :keep},
    {"thinking", :object, :keep},
    {"output_config", {:fields, [{"format", :object, :keep}, {"effort", :string, :keep}]}, :keep},
    {"cache_control", :object, :nothing}
  ]

  @rows @asked ++
          Sampling.rows(["temperature", "top_p", "top_k"]) ++
          [
            {"max_tokens", {:required, {:integer, 1, nil}}, {:option, :max_tokens}},
            {"stop_sequences", {:list, :string}, {:option, :stop}},
            {"stream", :boolean, :keep},
            {"metadata", {:fields, [{"user_id", :string, :nothing}]}, :nothing},
            {"service_tier", {:one_of, ["auto", "standard_only"]}, :nothing}
          ] ++
          for(
            name <- ~w(container context_management inference_geo mcp_servers speed),
            do: {name, :unsupported, :nothing}
          )

  @tool [
    {"name", {:required, :string}, :keep},
    {"description", :string, :keep},
    {"input_schema", {:required, :object}, :keep},
    {"type", {:one_of, ["custom"]}, :nothing},
    {"cache_control", :object, :nothing},
    {"strict", :boolean, :nothing}
  ]

  # type, and whether a call must be
  @choices %{"auto" => :auto, "any" => :required, "none" => :none, "tool" => :tool}

  @spec call(map(), Settings.t()) :: Reply.t()
  def call(body, settings) do
    fields = Fields.read(body, @rows)
    {model, prompt} = asked(fields.kept, settings)

    options =
      Sampling.options(fields, settings, prompt.parser) ++
        [template: prompt.template] ++
        Structured.options(format(fields.kept["output_config"]), "output_config.format", prompt.grammar)

    job = Job.start!(model.server, [{prompt.prompt, options}])
    reply(job, fields.kept, model, prompt, options[:stop] || [])
  end

  @doc "`/v1/messages/count_tokens`: how many tokens the prompt has."
  @spec count_tokens(map(), Settings.t()) :: Reply.t()
  def count_tokens(body, settings) do
    kept = Fields.read(body, @asked).kept
    {model, prompt} = asked(kept, settings)
    format(kept["output_config"])
    Reply.json(200, %{input_tokens: length(Prompt.encode!(model, prompt.prompt, prompt.template))})
  end

  defp asked(kept, settings) do
    model = Models.language_model!(settings, kept["model"])
    messages = Conversation.messages(kept["system"], kept["messages"])
    tools = Tooling.tools(kept["tools"] || [], "tools", &tool/2)
    {choice, parallel} = choice(kept["tool_choice"])
    template = thinking(kept["thinking"]) ++ effort(kept["output_config"])
    {model, Prompt.new(model, messages, tools, choice, parallel, template)}
  end

  defp tool(tool, place) do
    kept = Fields.read(tool, @tool, place).kept
    kept |> Map.take(["name", "description"]) |> Map.put("parameters", kept["input_schema"]) |> Tooling.named!(place)
  end

  defp choice(nil), do: {:auto, true}

  defp choice(%{"type" => type} = choice) when is_map_key(@choices, type) do
    rows = [{"type", :string, :keep}, {"disable_parallel_tool_use", :boolean, :keep}]
    rows = if type == "tool", do: [{"name", {:required, :string}, :keep} | rows], else: rows
    kept = Fields.read(choice, rows, "tool_choice").kept
    {if(type == "tool", do: {:tool, kept["name"]}, else: @choices[type]), kept["disable_parallel_tool_use"] != true}
  end

  defp choice(_other),
    do: Failure.fail!(:invalid, "tool_choice.type must be one of auto, any, none, tool", "tool_choice.type")

  defp thinking(nil), do: []
  defp thinking(%{"type" => "disabled"} = thinking) when map_size(thinking) == 1, do: [enable_thinking: false]
  defp thinking(%{"type" => "adaptive"} = thinking) when map_size(thinking) == 1, do: [enable_thinking: true]

  defp thinking(%{"type" => "enabled"} = thinking) do
    rows = [{"type", :string, :keep}, {"budget_tokens", {:required, {:integer, 1024, nil}}, :keep}]
    kept = Fields.read(thinking, rows, "thinking").kept
    [enable_thinking: true, thinking_budget: kept["budget_tokens"]]
  end

  defp thinking(_other),
    do: Failure.fail!(:invalid, "thinking.type must be one of enabled, adaptive, disabled", "thinking")

  defp effort(%{"effort" => effort}), do: [reasoning_effort: effort]
  defp effort(_none), do: []

  defp format(%{"format" => %{"type" => "json_schema", "schema" => %{} = schema} = format}) when map_size(format) == 2,
    do: {:json_schema, schema}

  defp format(%{"format" => _other}),
    do:
      Failure.fail!(
        :invalid,
        "output_config.format must have the type json_schema and a schema",
        "output_config.format"
      )

  defp format(_none), do: :text

  # ---- the answer

  defp reply(job, kept, model, prompt, stops) do
    state = %{
      answer: Answer.new(model.tokenizer, prompt),
      stops: stops,
      id: Answer.id("msg_"),
      model: model.name,
      open: nil,
      blocks: 0,
      begun: false
    }

    if kept["stream"],
      do: Reply.events(job, &Messages.Stream.step/2, &Messages.Stream.failed/2, state),
      else: Reply.later(job, &step/2, state)
  end

  defp step({0, event}, state) do
    {items, answer} = Answer.event(state.answer, event)
    state = %{state | answer: answer}
    if answer.response && items != [], do: {:reply, Reply.json(200, whole(state))}, else: {:more, "", state}
  end

  defp whole(%{answer: answer} = state) do
    {reason, stop} = reason(answer, state.stops)
    message(state, blocks(answer), reason, stop, usage(answer.response))
  end

  defp blocks(answer) do
    thinking =
      for text when text != "" <- [Answer.thinking(answer)], do: %{type: "thinking", thinking: text, signature: ""}

    texts = for text when text != "" <- [Answer.text(answer)], do: %{type: "text", text: text}
    calls = for call <- answer.calls, do: %{type: "tool_use", id: call.id, name: call.name, input: call.arguments}
    thinking ++ texts ++ calls
  end

  @doc "A message as the interface has it."
  @spec message(map(), [map()], String.t() | nil, String.t() | nil, map()) :: map()
  def message(state, content, reason, stop, usage) do
    %{
      id: state.id,
      type: "message",
      role: "assistant",
      model: state.model,
      content: content,
      stop_reason: reason,
      stop_sequence: stop,
      usage: usage
    }
  end

  @doc "Why an answer ended, in the words of the interface, and the stop sequence that ended it."
  @spec reason(Answer.t(), [String.t()]) :: {String.t(), String.t() | nil}
  def reason(%Answer{calls: [_ | _]}, _stops), do: {"tool_use", nil}
  def reason(%Answer{response: %{finish_reason: :length}}, _stops), do: {"max_tokens", nil}

  def reason(answer, stops) do
    case Answer.stop_string(answer, stops) do
      nil -> {"end_turn", nil}
      stop -> {"stop_sequence", stop}
    end
  end

  @doc "The tokens of an answer; those from a cache count apart here."
  @spec usage(Mlx.LM.Response.t()) :: map()
  def usage(response) do
    cached = Tooling.cached(response)

    %{
      input_tokens: response.prompt_tokens - cached,
      output_tokens: response.generated_tokens,
      cache_read_input_tokens: cached,
      cache_creation_input_tokens: 0
    }
  end
end
