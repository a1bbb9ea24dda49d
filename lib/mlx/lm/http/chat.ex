defmodule Mlx.LM.HTTP.Chat do
  @moduledoc false
  # `/v1/chat/completions`, OpenAI's chats.

  alias Mlx.LM.HTTP.{Answer, Chat, Failure, Fields, Job, Models, Prompt, Reply, Sampling, Settings, Structured, Tooling}

  @content {:either, [:string, {:list, :object}]}

  @rows Sampling.rows() ++
          [
            {"model", :string, :keep},
            {"messages", {:required, {:list, :object}}, :keep},
            {"max_tokens", {:integer, 1, nil}, {:option, :max_tokens}},
            {"max_completion_tokens", {:integer, 1, nil}, {:option, :max_tokens}},
            {"n", {:integer, 1, 16}, :keep},
            {"stream", :boolean, :keep},
            {"stream_options",
             {:fields, [{"include_usage", :boolean, :keep}, {"include_obfuscation", {:one_of, [false]}, :nothing}]},
             :keep},
            {"logprobs", :boolean, :keep},
            {"top_logprobs", {:integer, 0, 20}, :keep},
            {"tools", {:list, :object}, :keep},
            {"tool_choice", {:either, [:string, :object]}, :keep},
            {"parallel_tool_calls", :boolean, :keep},
            {"response_format", :object, :keep},
            {"reasoning_effort", {:one_of, ["none", "minimal", "low", "medium", "high", "xhigh"]},
             {:template, :reasoning_effort}},
            {"chat_template_kwargs", {:fields, Tooling.template_rows()}, :keep},
            {"modalities", {:one_of, [["text"]]}, :nothing},
            {"store", {:one_of, [false]}, :nothing},
            {"service_tier", {:one_of, ["auto", "default"]}, :nothing},
            {"user", :string, :nothing},
            {"metadata", {:map, :string}, :nothing},
            {"safety_identifier", :string, :nothing},
            {"prompt_cache_key", :string, :nothing}
          ] ++
          for(
            name <-
              ~w(audio function_call functions moderation prediction prompt_cache_options prompt_cache_retention verbosity) ++
                ~w(web_search_options),
            do: {name, :unsupported, :nothing}
          )

  # The fields of a message by its role.
  @messages %{
    "system" => [{"content", {:required, @content}, :keep}],
    "developer" => [{"content", {:required, @content}, :keep}],
    "user" => [{"content", {:required, @content}, :keep}],
    "assistant" => [
      {"content", @content, :keep},
      {"reasoning_content", :string, :keep},
      {"tool_calls", {:list, :object}, :keep},
      {"refusal", {:one_of, [""]}, :nothing},
      {"annotations", {:one_of, [[]]}, :nothing},
      {"audio", :unsupported, :nothing},
      {"function_call", :unsupported, :nothing}
    ],
    "tool" => [{"content", {:required, @content}, :keep}, {"tool_call_id", {:required, :string}, :keep}],
    "function" => :unsupported
  }

  @formats %{
    "text" => [],
    "json_object" => [],
    "json_schema" => [
      {"json_schema",
       {:required,
        {:fields,
         [
           {"name", {:required, :string}, :nothing},
           {"description", :string, :nothing},
           {"schema", {:required, :object}, :keep},
           {"strict", :boolean, :nothing}
         ]}}, :keep}
    ]
  }

  @spec call(map(), Settings.t()) :: Reply.t()
  def call(body, settings) do
    fields = Fields.read(body, @rows)
    kept = fields.kept
    model = Models.language_model!(settings, kept["model"])
    messages = messages(kept["messages"])
    tools = Tooling.tools(kept["tools"] || [], "tools")
    choice = Tooling.choice(kept["tool_choice"], tools)
    template = fields.template ++ Tooling.template(kept["chat_template_kwargs"])
    prompt = Prompt.new(model, messages, tools, choice, kept["parallel_tool_calls"] != false, template)
    options = options(fields, kept, settings, prompt)
    n = kept["n"] || 1

    Job.start!(model.server, for(options <- Sampling.several(options, n), do: {prompt.prompt, options}))
    |> reply(kept, model, prompt, n)
  end

  defp options(fields, kept, settings, prompt) do
    Sampling.options(fields, settings, prompt.parser) ++
      [template: prompt.template] ++
      logprobs(kept) ++ Structured.options(format(kept["response_format"]), "response_format", prompt.grammar)
  end

  defp logprobs(%{"logprobs" => true} = kept), do: [logprobs: kept["top_logprobs"] || 0]

  defp logprobs(%{"top_logprobs" => count}) when count > 0,
    do: Failure.fail!(:invalid, "top_logprobs is only for logprobs: true", "top_logprobs")

  defp logprobs(_kept), do: []

  defp format(nil), do: :text

  defp format(%{"type" => type} = format) when is_map_key(@formats, type) do
    fields = Fields.read(Map.delete(format, "type"), @formats[type], "response_format")

    case type do
      "text" -> :text
      "json_object" -> :json_object
      "json_schema" -> {:json_schema, fields.kept["json_schema"]["schema"]}
    end
  end

  defp format(_other) do
    names = @formats |> Map.keys() |> Enum.join(", ")
    Failure.fail!(:invalid, "response_format.type must be one of #{names}", "response_format.type")
  end

  # ---- messages

  defp messages([]), do: Failure.fail!(:invalid, "messages is empty", "messages")

  defp messages(list) do
    for {message, index} <- Enum.with_index(list), do: message(message, "messages[#{index}]")
  end

  defp message(%{"role" => role} = message, place) when is_map_key(@messages, role) do
    if @messages[role] == :unsupported,
      do: Failure.fail!(:unsupported, "the role #{role} is not supported by this server", "#{place}.role")

    rows = [{"name", :string, :nothing} | @messages[role]]
    kept = Fields.read(Map.delete(message, "role"), rows, place).kept

    base = %{
      "role" => if(role == "developer", do: "system", else: role),
      "content" => Tooling.text(kept["content"], place)
    }

    kept
    |> Map.take(["tool_call_id", "reasoning_content"])
    |> Map.merge(base)
    |> Tooling.put_calls(kept["tool_calls"], "#{place}.tool_calls")
  end

  defp message(_other, place) do
    names = @messages |> Map.reject(fn {_role, rows} -> rows == :unsupported end) |> Map.keys() |> Enum.join(", ")
    Failure.fail!(:invalid, "#{place}.role must be one of #{names}", "#{place}.role")
  end

  # ---- the answer

  defp reply(job, kept, model, prompt, n) do
    answers = Map.new(0..(n - 1), &{&1, Answer.new(model.tokenizer, prompt)})
    state = %{answers: answers, left: n, logprobs: kept["logprobs"] == true, begun: false}

    state =
      Map.merge(state, %{
        head: %{id: Answer.id("chatcmpl-"), created: System.os_time(:second), model: model.name},
        usage: get_in(kept, ["stream_options", "include_usage"]) == true
      })

    if kept["stream"],
      do: Reply.events(job, &Chat.Stream.step/2, &Chat.Stream.failed/2, state),
      else: Reply.later(job, &step/2, state)
  end

  defp step({index, event}, state) do
    {items, answer} = Answer.event(state.answers[index], event)
    state = put_in(state.answers[index], answer)
    state = if Enum.any?(items, &match?({:done, _response}, &1)), do: %{state | left: state.left - 1}, else: state
    if state.left == 0, do: {:reply, Reply.json(200, whole(state))}, else: {:more, "", state}
  end

  defp whole(state) do
    answers = state.answers |> Enum.sort() |> Enum.map(&elem(&1, 1))
    choices = for {answer, index} <- Enum.with_index(answers), do: choice(answer, index, state)
    Map.merge(state.head, %{object: "chat.completion", choices: choices, usage: usage(answers)})
  end

  defp choice(answer, index, state) do
    {tokens, answer} = Answer.fresh(answer)
    logprobs = if state.logprobs, do: %{content: Enum.map(tokens, &Answer.logprob(answer, &1)), refusal: nil}
    %{index: index, message: said(answer), finish_reason: finish_reason(answer), logprobs: logprobs}
  end

  defp said(answer) do
    text = Answer.text(answer)
    message = %{role: "assistant", content: if(text == "" and answer.calls != [], do: nil, else: text), refusal: nil}

    message =
      if answer.calls == [], do: message, else: Map.put(message, :tool_calls, Enum.map(answer.calls, &Tooling.call/1))

    thinking = Answer.thinking(answer)
    if thinking == "", do: message, else: Map.put(message, :reasoning_content, thinking)
  end

  @doc "Why an answer ended, in the words of the interface."
  @spec finish_reason(Answer.t()) :: String.t()
  def finish_reason(%Answer{calls: [_ | _]}), do: "tool_calls"
  def finish_reason(%Answer{response: response}), do: Atom.to_string(response.finish_reason)

  @doc "The tokens of answers to one prompt."
  @spec usage([Answer.t()]) :: map()
  def usage([first | _] = answers) do
    prompt = first.response.prompt_tokens
    generated = Enum.sum(for answer <- answers, do: answer.response.generated_tokens)

    %{
      prompt_tokens: prompt,
      completion_tokens: generated,
      total_tokens: prompt + generated,
      prompt_tokens_details: %{cached_tokens: Tooling.cached(first.response)}
    }
  end
end
