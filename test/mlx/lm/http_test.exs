defmodule Mlx.LM.HTTPTest do
  # The routes, with a server that answers by a script.
  use ExUnit.Case, async: true

  import Mlx.HTTPClient

  alias Mlx.LM.{Grammar, HTTP}
  alias Mlx.LM.Server.Models
  alias Mlx.{ScriptedServer, TinyLlama}

  doctest HTTP

  @template "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}{% if tools %}<tool_call>{{ tools | tojson }}{% endif %}<assistant>"
  @thinking @template <> "<think>"
  @hello %{messages: [%{role: "user", content: "Hi"}]}
  @tool %{
    type: "function",
    function: %{name: "look", parameters: %{type: "object", properties: %{"at" => %{type: "string"}}}}
  }

  # The port of a server that answers with the pieces, or by a function of prompt and options.
  defp serve(script, options \\ []) do
    {template, options} = Keyword.pop(options, :template, @template)
    script = if is_function(script), do: script, else: fn _prompt, _options -> script end

    model =
      start_supervised!({ScriptedServer, script: script, about: ScriptedServer.about(template), test: self()},
        id: make_ref()
      )

    http = start_supervised!({HTTP, [models: [model], port: 0] ++ options}, id: make_ref())
    HTTP.port(http)
  end

  defp json({status, _headers, body}), do: {status, JSON.decode!(body)}

  defp chat(port, changes \\ %{}), do: port |> post("/v1/chat/completions", Map.merge(@hello, changes)) |> json()

  test "a chat" do
    port = serve(["Hel", "lo"])
    assert {200, answer} = chat(port)
    assert %{"object" => "chat.completion", "model" => "scripted", "usage" => usage, "choices" => [choice]} = answer
    assert %{"message" => %{"role" => "assistant", "content" => "Hello"}, "finish_reason" => "stop"} = choice
    assert %{"prompt_tokens" => 7, "completion_tokens" => 6, "total_tokens" => 13} = usage
    assert_received {:asked, [%{"role" => "user", "content" => "Hi"}], options}
    assert options[:deadline] == 600_000
  end

  test "fields become options" do
    port = serve(["x"], defaults: [max_tokens: 5, temperature: 0.5])

    fields = %{
      temperature: 0.7,
      top_p: 0.9,
      top_k: 5,
      min_p: 0.1,
      seed: -1,
      stop: "END",
      max_completion_tokens: 9,
      presence_penalty: 1,
      frequency_penalty: 0.5,
      logit_bias: %{"5" => -100},
      logprobs: true,
      top_logprobs: 2,
      reasoning_effort: "low",
      chat_template_kwargs: %{enable_thinking: false},
      user: "me",
      metadata: %{a: "b"},
      store: false
    }

    assert {200, _answer} = chat(port, fields)
    assert_received {:asked, _prompt, options}

    assert Keyword.take(options, [
             :temperature,
             :top_p,
             :top_k,
             :min_p,
             :presence_penalty,
             :frequency_penalty,
             :logprobs
           ])
           |> Enum.sort() ==
             [
               frequency_penalty: 0.5,
               logprobs: 2,
               min_p: 0.1,
               presence_penalty: 1,
               temperature: 0.7,
               top_k: 5,
               top_p: 0.9
             ]

    assert options[:seed] == 0xFFFFFFFFFFFFFFFF and options[:stop] == ["END"] and options[:max_tokens] == 9
    assert options[:logit_bias] == %{5 => -100}
    assert Enum.sort(options[:template]) == [enable_thinking: false, reasoning_effort: "low"]
  end

  refused = [
    {%{temprature: 1}, "temprature", "unknown; is temperature meant"},
    {%{temperature: "hot"}, "temperature", "must be a number"},
    {%{n: 0}, "n", "an integer from 1 to 16"},
    {%{store: true}, "store", "only as false"},
    {%{audio: %{}}, "audio", "not supported"},
    {%{functions: []}, "functions", "not supported"},
    {%{stream_options: %{include_usage: true, more: 1}}, "stream_options.more", "unknown"},
    {%{top_logprobs: 2}, "top_logprobs", "only for logprobs"},
    {%{messages: []}, "messages", "empty"},
    {%{messages: nil}, "messages", "missing"},
    {%{messages: [%{role: "robot", content: "x"}]}, "messages[0].role", "one of"},
    {%{messages: [%{role: "user"}]}, "messages[0].content", "missing"},
    {%{messages: [%{role: "user", content: "x", mood: 1}]}, "messages[0].mood", "unknown"},
    {%{messages: [%{role: "user", content: [%{type: "image_url", image_url: %{}}]}]}, "messages[0].content[0].type",
     "image_url"},
    {%{tools: [%{type: "web_search"}]}, "tools[0].type", "only as"},
    {%{tool_choice: "required"}, "tool_choice", "there are no tools"},
    {%{tools: [@tool], tool_choice: %{type: "function", function: %{name: "other"}}}, "tool_choice",
     "none of the tools"},
    {%{response_format: %{type: "xml"}}, "response_format.type", "one of"},
    {%{response_format: %{type: "json_schema", json_schema: %{name: "x"}}}, "response_format.json_schema.schema",
     "missing"},
    {%{chat_template_kwargs: %{foo: 1}}, "chat_template_kwargs.foo", "unknown"},
    {%{logit_bias: %{"x" => 1}}, "logit_bias", "no token"},
    {%{stop: [""]}, "stop", "empty"}
  ]

  for {{changes, param, text}, index} <- Enum.with_index(refused) do
    test "a field that is wrong is named: #{param} (#{index})" do
      {changes, param, text} = unquote(Macro.escape({changes, param, text}))
      port = serve(["x"])
      assert {400, %{"error" => error}} = chat(port, changes)
      assert error["param"] == param
      assert error["message"] =~ text
      refute_received {:asked, _prompt, _options}
    end
  end

  test "a model that there is not" do
    port = serve(["x"])
    assert {404, %{"error" => %{"code" => "model_not_found", "message" => message}}} = chat(port, %{model: "other"})
    assert message =~ "scripted"
    assert {200, _answer} = chat(port, %{model: "scripted"})
    assert {200, %{"data" => [%{"id" => "scripted"}]}} = port |> get("/v1/models") |> json()
    assert {200, %{"id" => "scripted"}} = port |> get("/v1/models/scripted") |> json()
    assert {404, _error} = port |> get("/v1/models/other") |> json()
  end

  test "a chat that is streamed" do
    port = serve(["Hel", "lo"])
    fields = Map.merge(@hello, %{stream: true, stream_options: %{include_usage: true}})
    assert {200, headers, body} = post(port, "/v1/chat/completions", fields)
    assert headers["content-type"] =~ "text/event-stream"
    assert [first, a, b, last, usage, :done] = events(body)
    assert %{"choices" => [%{"delta" => %{"role" => "assistant"}}], "usage" => nil} = first
    assert for(%{"choices" => [%{"delta" => %{"content" => text}}]} <- [a, b], do: text) == ["Hel", "lo"]
    assert %{"choices" => [%{"delta" => delta, "finish_reason" => "stop"}]} = last
    assert delta == %{}
    assert %{"choices" => [], "usage" => %{"total_tokens" => 13}} = usage
  end

  test "several answers have seeds of their own" do
    port = serve(fn _prompt, options -> ["#{options[:seed]}"] end)
    assert {200, %{"choices" => choices, "usage" => usage}} = chat(port, %{n: 3, seed: 5})
    assert for(choice <- choices, do: {choice["index"], choice["message"]["content"]}) == [{0, "5"}, {1, "6"}, {2, "7"}]
    assert usage["prompt_tokens"] == 7 and usage["completion_tokens"] == 6

    assert {200, _headers, body} = post(port, "/v1/chat/completions", Map.merge(@hello, %{n: 2, seed: 5, stream: true}))

    texts =
      for %{"choices" => [%{"index" => index, "delta" => %{"content" => text}}]} <- events(body),
          text != "",
          do: {index, text}

    assert Enum.sort(texts) == [{0, "5"}, {1, "6"}]
  end

  test "thinking is apart" do
    port = serve(["so", "</think>", "\n\nHello"], template: @thinking)
    assert {200, %{"choices" => [%{"message" => message}]}} = chat(port)
    assert %{"content" => "Hello", "reasoning_content" => "so"} = message
    assert {200, _headers, body} = post(port, "/v1/chat/completions", Map.put(@hello, :stream, true))
    deltas = for %{"choices" => [%{"delta" => delta}]} <- events(body), do: delta
    assert %{"reasoning_content" => "so"} in deltas and %{"content" => "Hello"} in deltas

    message = %{model: "scripted", max_tokens: 9, messages: [%{role: "user", content: "Hi"}]}
    assert {200, %{"content" => content}} = port |> post("/v1/messages", message) |> json()
    assert [%{"type" => "thinking", "thinking" => "so"}, %{"type" => "text", "text" => "Hello"}] = content
    assert {200, %{"output" => output}} = port |> post("/v1/responses", %{input: "Hi"}) |> json()
    assert [%{"type" => "reasoning", "content" => [%{"text" => "so"}]}, %{"type" => "message"}] = output
  end

  test "calls of tools" do
    call = ~s(<tool_call>{"name": "look", "arguments": {"at": "x"}}</tool_call>)
    port = serve(["Well. ", String.slice(call, 0, 20), String.slice(call, 20, 100), call])
    assert {200, %{"choices" => [choice]}} = chat(port, %{tools: [@tool]})

    assert %{"finish_reason" => "tool_calls", "message" => %{"content" => "Well. ", "tool_calls" => [one, _two]}} =
             choice

    assert %{
             "type" => "function",
             "id" => "call_" <> _id,
             "function" => %{"name" => "look", "arguments" => ~s({"at":"x"})}
           } = one

    assert_received {:asked, _messages, options}

    assert [[type: "function", function: [name: "look", parameters: %{}]]] =
             options[:template][:tools] |> Enum.map(&put_in(&1[:function][:parameters], %{}))

    assert "<tool_call>" in options[:special]

    assert {200, %{"choices" => [%{"message" => %{"tool_calls" => [_one]}}]}} =
             chat(port, %{tools: [@tool], parallel_tool_calls: false})

    # Without tools it is text.
    assert {200, %{"choices" => [%{"message" => %{"content" => text}}]}} = chat(port)
    assert text =~ "<tool_call>"
    assert {200, %{"choices" => [%{"finish_reason" => "stop"}]}} = chat(port, %{tools: [@tool], tool_choice: "none"})
  end

  test "a function that says no parameters has none" do
    port = serve([~s({})])
    tool = %{type: "function", function: %{name: "look"}}
    assert {200, %{"choices" => [%{"message" => message}]}} = chat(port, %{tools: [tool], tool_choice: "required"})
    assert [%{"function" => %{"name" => "look", "arguments" => "{}"}}] = message["tool_calls"]
    assert_received {:asked, ids, options}
    assert List.to_string(ids) =~ ~s("additionalProperties": false)

    if Code.ensure_loaded?(Mlx.LM.Grammar) do
      assert options[:grammar] != nil
    end
  end

  test "a call that must be begins the answer" do
    port = serve([~s({"at": "x"}}</tool_call>)])
    choice = %{type: "function", function: %{name: "look"}}
    assert {200, %{"choices" => [%{"message" => message}]}} = chat(port, %{tools: [@tool], tool_choice: choice})
    assert [%{"function" => %{"name" => "look", "arguments" => ~s({"at":"x"})}}] = message["tool_calls"]
    assert_received {:asked, ids, _options}
    assert List.to_string(ids) =~ ~r/<assistant><tool_call>\n\{"name": "look", "arguments": \z/
  end

  test "the arguments of a call that must be are held to their schema" do
    port = serve([~s({"at": "x"})])
    assert {200, %{"choices" => [%{"message" => message}]}} = chat(port, %{tools: [@tool], tool_choice: "required"})
    assert_received {:asked, _ids, options}

    assert %Grammar{kind: :json_schema} = options[:grammar]
    assert [%{"function" => %{"name" => "look", "arguments" => ~s({"at":"x"})}}] = message["tool_calls"]
  end

  test "calls and results of an earlier turn reach the template" do
    template =
      "{% for m in messages %}{{ m.role }}:{{ m.content }}{% for c in m.tool_calls or [] %}{{ c.function.name }}={{ c.function.arguments.at }}{% endfor %};{% endfor %}{{ tools }}<tool_call>"

    port = serve(["x"], template: template)

    messages = [
      %{role: "user", content: [%{type: "text", text: "a"}, %{type: "text", text: "b"}]},
      %{
        role: "assistant",
        content: nil,
        tool_calls: [%{id: "1", type: "function", function: %{name: "look", arguments: ~s({"at": "y"})}}]
      },
      %{role: "tool", tool_call_id: "1", content: "seen"}
    ]

    assert {200, _answer} = chat(port, %{messages: messages, tools: [@tool]})
    assert_received {:asked, [user, assistant, tool], _options}
    assert user == %{"role" => "user", "content" => "ab"}
    assert %{"tool_calls" => [%{"function" => %{"arguments" => %{"at" => "y"}}}]} = assistant
    assert %{"role" => "tool", "content" => "seen", "tool_call_id" => "1"} = tool
  end

  test "a model whose template knows no tools is told in words" do
    port =
      serve([~s(<tool_call>{"name": "look", "arguments": {}}</tool_call>)],
        template: "{% for m in messages %}{{ m.content }}{% endfor %}"
      )

    assert {200, %{"choices" => [%{"finish_reason" => "tool_calls"}]}} = chat(port, %{tools: [@tool]})
    assert_received {:asked, [%{"role" => "system", "content" => text}, _user], _options}
    assert text =~ ~s("name":"look")
  end

  test "log-probabilities" do
    token = %{id: ?H, logprob: -0.5, top: [{?H, -0.5}, {?J, -1.5}]}
    port = serve([{:token, token}, "H"])

    assert {200, %{"choices" => [%{"logprobs" => %{"content" => [entry]}}]}} =
             chat(port, %{logprobs: true, top_logprobs: 2})

    assert %{"token" => "H", "logprob" => -0.5, "bytes" => [72], "top_logprobs" => [_h, %{"token" => "J"}]} = entry

    assert {200, %{"choices" => [%{"logprobs" => logprobs}]}} =
             port |> post("/v1/completions", %{prompt: "x", logprobs: 2}) |> json()

    assert %{"tokens" => ["H"], "token_logprobs" => [-0.5], "top_logprobs" => [%{"J" => -1.5}], "text_offset" => [0]} =
             logprobs

    assert {200, _headers, body} =
             post(port, "/v1/chat/completions", Map.merge(@hello, %{stream: true, logprobs: true}))

    assert [%{"content" => [%{"token" => "H"}]}] =
             for(%{"choices" => [%{"logprobs" => %{} = logprobs}]} <- events(body), do: logprobs)
  end

  test "completions" do
    port = serve(fn prompt, _options -> ["after ", "#{inspect(prompt)}"] end)
    assert {200, %{"choices" => choices}} = port |> post("/v1/completions", %{prompt: ["a", "b"], n: 2}) |> json()
    assert for(choice <- choices, do: choice["text"]) == [~s(after "a"), ~s(after "a"), ~s(after "b"), ~s(after "b")]

    assert {200, %{"choices" => [%{"text" => "after [1, 2]"}]}} =
             port |> post("/v1/completions", %{prompt: [1, 2]}) |> json()

    assert {200, _headers, body} = post(port, "/v1/completions", %{prompt: "a", stream: true})
    assert Enum.join(for(%{"choices" => [%{"text" => text}]} <- events(body), do: text)) == ~s(after "a")
    assert List.last(events(body)) == :done

    assert {400, %{"error" => %{"param" => "suffix"}}} =
             port |> post("/v1/completions", %{prompt: "a", suffix: "b"}) |> json()

    assert {400, %{"error" => %{"param" => "prompt"}}} = port |> post("/v1/completions", %{prompt: [1, "a"]}) |> json()
  end

  @message %{model: "scripted", max_tokens: 9, messages: [%{role: "user", content: "Hi"}]}

  test "messages" do
    port = serve(["Hello"])
    assert {200, answer} = port |> post("/v1/messages", @message) |> json()

    assert %{"type" => "message", "stop_reason" => "end_turn", "content" => [%{"type" => "text", "text" => "Hello"}]} =
             answer

    assert %{"input_tokens" => 7, "output_tokens" => 6} = answer["usage"]

    assert {400, %{"type" => "error", "error" => %{"type" => "invalid_request_error", "message" => message}}} =
             port |> post("/v1/messages", Map.put(@message, :temprature, 1)) |> json()

    assert message =~ "temprature"
    assert {400, _error} = port |> post("/v1/messages", Map.delete(@message, :max_tokens)) |> json()
  end

  test "two tools of one name are refused by each interface" do
    port = serve(["x"])
    assert {400, %{"error" => %{"param" => "tools"}}} = chat(port, %{tools: [@tool, @tool]})
    tool = Map.put(@tool.function, :type, "function")
    assert {400, %{"error" => error}} = port |> post("/v1/responses", %{input: "Hi", tools: [tool, tool]}) |> json()
    assert error["message"] =~ "two tools have the same name"
    tool = %{name: "look", input_schema: %{type: "object"}}
    assert {400, %{"error" => error}} = port |> post("/v1/messages", Map.put(@message, :tools, [tool, tool])) |> json()
    assert error["message"] =~ "two tools have the same name"
  end

  test "the tokens of messages are counted without an answer" do
    port = serve(["x"], template: "{{ messages[0].content }}{% if tools %}<tool_call>{% endif %}")
    asked = Map.delete(@message, :max_tokens)
    assert {200, %{"input_tokens" => 2}} = port |> post("/v1/messages/count_tokens", asked) |> json()
    tools = [%{name: "look", input_schema: %{type: "object"}}]

    assert {200, %{"input_tokens" => 13}} =
             port |> post("/v1/messages/count_tokens", Map.put(asked, :tools, tools)) |> json()

    assert {400, %{"type" => "error", "error" => %{"message" => message}}} =
             port |> post("/v1/messages/count_tokens", @message) |> json()

    assert message =~ "max_tokens"
    refute_received {:asked, _prompt, _options}
  end

  test "messages that are streamed" do
    call = ~s(<tool_call>{"name": "look", "arguments": {"at": "x"}}</tool_call>)
    port = serve(["so", "</think>Well.", call], template: @thinking)
    tools = [%{name: "look", input_schema: %{type: "object"}}]
    assert {200, _headers, body} = post(port, "/v1/messages", Map.merge(@message, %{stream: true, tools: tools}))
    events = events(body)

    assert for(event <- events, do: event["type"]) ==
             ~w(message_start content_block_start content_block_delta content_block_delta content_block_stop) ++
               ~w(content_block_start content_block_delta content_block_stop) ++
               ~w(content_block_start content_block_delta content_block_stop message_delta message_stop)

    assert for(
             %{"type" => "content_block_start", "index" => index, "content_block" => block} <- events,
             do: {index, block["type"]}
           ) ==
             [{0, "thinking"}, {1, "text"}, {2, "tool_use"}]

    assert %{"delta" => %{"stop_reason" => "tool_use"}, "usage" => %{"input_tokens" => 7}} = Enum.at(events, -2)
  end

  test "messages with tools, results and a system" do
    port = serve([~s(<tool_call>{"name": "look", "arguments": {"at": "x"}}</tool_call>)])

    messages = [
      %{role: "user", content: "Hi"},
      %{
        role: "assistant",
        content: [%{type: "text", text: "A"}, %{type: "tool_use", id: "t1", name: "look", input: %{at: "y"}}]
      },
      %{
        role: "user",
        content: [
          %{type: "tool_result", tool_use_id: "t1", content: [%{type: "text", text: "seen"}]},
          %{type: "text", text: "And?"}
        ]
      }
    ]

    tools = [%{name: "look", description: "Looks", input_schema: %{type: "object"}}]
    fields = %{model: "scripted", max_tokens: 9, messages: messages, system: [%{type: "text", text: "S"}], tools: tools}
    assert {200, answer} = port |> post("/v1/messages", fields) |> json()

    assert %{
             "stop_reason" => "tool_use",
             "content" => [%{"type" => "tool_use", "name" => "look", "input" => %{"at" => "x"}}]
           } = answer

    assert_received {:asked, asked, _options}
    assert for(message <- asked, do: message["role"]) == ~w(system user assistant tool user)
  end

  test "the stop sequence that ended a message" do
    about = ScriptedServer.about(@template)

    response = %Mlx.LM.Response{
      text: "Hel",
      ids: ~c"HelEND",
      finish_reason: :stop,
      prompt_tokens: 1,
      prompt_tokens_per_second: 1.0,
      generated_tokens: 6,
      generation_tokens_per_second: nil,
      peak_memory: 0,
      context: nil
    }

    answer = %{HTTP.Answer.new(about.tokenizer) | response: response}
    assert HTTP.Answer.stop_string(answer, ["X", "END"]) == "END"
    assert HTTP.Answer.stop_string(%{answer | response: %{response | ids: ~c"Hel"}}, ["END"]) == nil
  end

  test "responses" do
    port = serve(["Hel", "lo"])
    assert {200, answer} = port |> post("/v1/responses", %{input: "Hi", instructions: "Be brief."}) |> json()

    assert %{"object" => "response", "status" => "completed", "output" => [%{"type" => "message", "content" => [part]}]} =
             answer

    assert %{"type" => "output_text", "text" => "Hello"} = part
    assert_received {:asked, [%{"role" => "system"}, %{"role" => "user"}], _options}

    assert {200, _headers, body} = post(port, "/v1/responses", %{input: "Hi", stream: true})
    events = events(body)

    assert for(event <- events, do: String.replace_prefix(event["type"], "response.", "")) ==
             ~w(created in_progress output_item.added content_part.added output_text.delta output_text.delta) ++
               ~w(output_text.done content_part.done output_item.done completed)

    assert for(event <- events, do: event["sequence_number"]) == Enum.to_list(0..9)

    assert {400, %{"error" => %{"param" => "previous_response_id"}}} =
             port |> post("/v1/responses", %{input: "Hi", previous_response_id: "x"}) |> json()
  end

  test "responses with calls of tools" do
    port = serve([~s(<tool_call>{"name": "look", "arguments": {"at": "x"}}</tool_call>)])
    tools = [%{type: "function", name: "look", parameters: %{type: "object"}}]

    input = [
      %{role: "user", content: [%{type: "input_text", text: "Hi"}]},
      %{type: "function_call", call_id: "c1", name: "look", arguments: "{}"},
      %{type: "function_call", call_id: "c2", name: "look", arguments: "{}"},
      %{type: "function_call_output", call_id: "c1", output: "seen"}
    ]

    assert {200, %{"output" => [item]}} = port |> post("/v1/responses", %{input: input, tools: tools}) |> json()

    assert %{"type" => "function_call", "name" => "look", "arguments" => ~s({"at":"x"}), "call_id" => "call_" <> _id} =
             item

    assert_received {:asked, [_user, %{"tool_calls" => [_one, _two]}, %{"role" => "tool"}], _options}
    assert {200, _headers, body} = post(port, "/v1/responses", %{input: "Hi", tools: tools, stream: true})
    assert "response.function_call_arguments.done" in for(event <- events(body), do: event["type"])
  end

  errors = [
    queue_full: {429, 529},
    deadline: {504, 504},
    too_large: {400, 400},
    shutdown: {503, 503},
    invalid: {400, 400},
    failed: {500, 500}
  ]

  for {reason, {openai, anthropic}} <- errors do
    test "the error #{reason}, before and after it is accepted, and in a stream" do
      for script <- [{:refuse, unquote(reason)}, [{:error, unquote(reason)}]] do
        port = serve(script)
        assert {unquote(openai), %{"error" => %{"message" => message}}} = chat(port)
        assert message =~ "it w" and not (message =~ "Mlx.LM")
        assert {unquote(openai), _error} = chat(port, %{stream: true})
        assert {unquote(anthropic), %{"type" => "error"}} = port |> post("/v1/messages", @message) |> json()
        assert {unquote(openai), %{"error" => _error}} = port |> post("/v1/responses", %{input: "Hi"}) |> json()
        assert {unquote(openai), %{"error" => _error}} = port |> post("/v1/completions", %{prompt: "Hi"}) |> json()
      end

      port = serve(["A", {:error, unquote(reason)}])
      assert {200, _headers, body} = post(port, "/v1/chat/completions", Map.put(@hello, :stream, true))
      assert [_role, _a, %{"error" => %{"message" => _message}}, :done] = events(body)
      assert {200, _headers, body} = post(port, "/v1/messages", Map.put(@message, :stream, true))
      assert %{"type" => "error"} = List.last(events(body))
      assert {200, _headers, body} = post(port, "/v1/responses", %{input: "Hi", stream: true})
      assert %{"type" => "response.failed"} = List.last(events(body))
    end
  end

  test "a stream of which only a comment is sent has a last event, too, when it fails" do
    port = serve([{:wait, 100}, {:error, :failed}], heartbeat: 10)
    assert {200, _headers, body} = post(port, "/v1/chat/completions", Map.put(@hello, :stream, true))
    assert [%{"error" => %{"message" => "it went wrong"}}, :done] = events(body)
    assert {200, _headers, body} = post(port, "/v1/completions", %{prompt: "Hi", stream: true})
    assert [%{"error" => %{"message" => "it went wrong"}}, :done] = events(body)
    assert {200, _headers, body} = post(port, "/v1/messages", Map.put(@message, :stream, true))
    assert [%{"type" => "error"}] = events(body)
    assert {200, _headers, body} = post(port, "/v1/responses", %{input: "Hi", stream: true})

    assert for(event <- events(body), do: event["type"]) ==
             ["response.created", "response.in_progress", "response.failed"]

    # An answer that is no stream has no comments, and has its status.
    assert {500, %{"error" => _error}} = chat(port)
  end

  test "keys" do
    port = serve(["x"], keys: ["first", {:sha256, :crypto.hash(:sha256, "second")}])
    assert {401, %{"error" => %{"code" => "invalid_api_key"}}} = chat(port)
    assert {401, %{"type" => "error"}} = port |> post("/v1/messages", @message, [{"x-api-key", "wrong"}]) |> json()
    assert {200, _h, _b} = post(port, "/v1/messages", @message, [{"x-api-key", "second"}])
    assert {200, _h, _b} = post(port, "/v1/chat/completions", @hello, [{"authorization", "Bearer first"}])

    for wrong <- ["firs", "firstt", "", "Bearer first"],
        do: assert({401, _h, _b} = post(port, "/v1/chat/completions", @hello, [{"authorization", "Bearer " <> wrong}]))

    assert {200, _h, _b} = get(port, "/health")
    assert {200, _h, page} = get(port, "/")
    assert page =~ "<!doctype html>"
    assert {401, _h, _b} = get(port, "/metrics")
    assert {401, _h, _b} = get(port, "/v1/models")
  end

  test "pages of other origins" do
    origin = {"origin", "https://page.example"}
    closed = serve(["x"])
    assert {403, _h, _b} = post(closed, "/v1/chat/completions", @hello, [origin])
    assert {200, _h, _b} = post(closed, "/v1/chat/completions", @hello, [{"origin", "http://localhost"}])
    {204, headers, ""} = request(closed, "OPTIONS", "/v1/chat/completions", [origin], "")
    refute headers["access-control-allow-origin"]

    port = serve(["x"], origins: ["https://page.example"])
    assert {204, headers, ""} = request(port, "OPTIONS", "/v1/chat/completions", [origin], "")
    assert headers["access-control-allow-origin"] == "https://page.example"
    assert headers["access-control-allow-methods"] == "POST, OPTIONS"
    assert {200, headers, _b} = post(port, "/v1/chat/completions", @hello, [origin])
    assert headers["access-control-allow-origin"] == "https://page.example"
    assert {200, headers, _b} = post(port, "/v1/chat/completions", Map.put(@hello, :stream, true), [origin])
    assert headers["access-control-allow-origin"] == "https://page.example"
    assert {400, headers, _b} = post(port, "/v1/chat/completions", %{}, [origin])
    assert headers["access-control-allow-origin"] == "https://page.example"
    assert {403, _h, _b} = post(port, "/v1/chat/completions", @hello, [{"origin", "https://other.example"}])

    assert {415, _h, _b} =
             request(port, "POST", "/v1/chat/completions", [{"content-type", "text/plain"}], JSON.encode!(@hello))

    assert {403, _h, _b} = get(port, "/v1/models", [{"host", "evil.example"}])
    assert {200, _h, _b} = get(serve(["x"], hosts: ["my.name"]), "/v1/models", [{"host", "my.name:80"}])
  end

  test "figures" do
    port = serve(["x"])
    chat(port)
    assert {200, _headers, text} = get(port, "/metrics")
    assert text =~ ~s(mlx_server_active{model="scripted"} 1)
    assert text =~ ~s(mlx_http_answers_total{path="/v1/chat/completions",status="2xx"} 1)

    for line <- String.split(text, "\n", trim: true),
        do: assert(line =~ ~r/\A(# (HELP|TYPE) \w+ .+|\w+(\{[^}]*\})? [\d.]+)\z/)
  end

  test "a model without a template, and one whose server is not there" do
    port = serve(["x"], template: nil)
    assert {400, %{"error" => %{"message" => message}}} = chat(port)
    assert message =~ "no chat template"
    http = start_supervised!({HTTP, models: [{"gone", :nobody}], port: 0}, id: make_ref())
    assert {503, _error} = HTTP.port(http) |> chat(%{model: "gone"})
    assert {200, _h, _b} = get(HTTP.port(http), "/health")
    assert {200, _h, text} = get(HTTP.port(http), "/metrics")
    assert text =~ ~s(mlx_server_up{model="gone"} 0)
  end

  @tag :tmp_dir
  test "models that are loaded when they are asked for, and put away", %{tmp_dir: folder} do
    path = Path.join(folder, "tiny.gguf")
    TinyLlama.save(path)
    start_supervised!({Models, models: Map.new(["a", "b"], &{&1, [model: path]}), name: :http_models, most: 1})
    models = for name <- ["a", "b", "c"], do: {name, {:model, :http_models, name}}
    port = HTTP.port(start_supervised!({HTTP, models: models, port: 0}, id: make_ref()))
    loaded = fn -> for {name, true} <- Models.names(:http_models), do: name end

    for name <- ["a", "b", "a"] do
      assert {200, %{"model" => ^name, "choices" => [_choice]}} = chat(port, %{model: name, max_tokens: 3})
      assert loaded.() == [name]
    end

    assert {200, _headers, list} = get(port, "/v1/models")
    assert ["a", "b", "c"] == for(model <- JSON.decode!(list)["data"], do: model["id"])
    assert {200, _headers, _figures} = get(port, "/metrics")
    assert {200, _headers, _health} = get(port, "/health")
    assert loaded.() == ["a"]
    assert {status, %{"error" => %{"message" => message}}} = chat(port, %{model: "c"})
    assert status in 400..599 and message =~ "c"
  end

  test "response_format asks for a grammar" do
    port = serve(["{}"])
    format = %{type: "json_schema", json_schema: %{name: "x", schema: %{type: "object"}}}

    assert {200, _answer} = chat(port, %{response_format: format})
    assert_received {:asked, _prompt, options}
    assert %Grammar{kind: :json_schema} = options[:grammar]
    assert {200, _answer} = chat(port, %{response_format: %{type: "text"}})
    assert_received {:asked, _prompt, options}
    assert options[:grammar] == nil

    for {schema, text} <- [{%{type: "object", not: %{}}, "not"}, {%{type: "string", minLength: -1}, "minLength"}] do
      assert {400, %{"error" => error}} = chat(port, %{response_format: put_in(format.json_schema.schema, schema)})
      assert error["param"] == "response_format" and error["message"] =~ text
      refute_received {:asked, _prompt, _options}
    end
  end

  test "wrong options" do
    assert_raise ArgumentError, ~r/Mlx.LM.HTTP.start_link: unknown option :prot/, fn -> HTTP.start_link(prot: 1) end

    assert_raise ArgumentError, ~r/Mlx.LM.HTTP.start_link: expected :port to be an integer/, fn ->
      HTTP.start_link(port: -1)
    end

    assert_raise ArgumentError, ~r/Mlx.LM.HTTP.start_link: expected :ip to be an address/, fn ->
      HTTP.start_link(ip: "x")
    end

    assert_raise ArgumentError, ~r/expected :embedders to be a list of Mlx.LM.Embedder/, fn ->
      HTTP.start_link(embedders: [1])
    end

    assert_raise ArgumentError, ~r/expected :keys to be a list/, fn -> HTTP.start_link(keys: [{:sha256, "x"}]) end

    assert_raise ArgumentError, ~r/expected :keys to be a list of strings that are not empty/, fn ->
      HTTP.start_link(keys: [""])
    end

    port = serve(["x"])
    Process.flag(:trap_exit, true)
    assert {:error, message} = HTTP.start_link(port: port)
    assert message =~ "Mlx.LM.HTTP: cannot listen on 127.0.0.1, port #{port}: address already in use"
  end
end
