defmodule Mlx.LM.HTTP.RandomBodiesTest do
  # Bodies of which any part is replaced by anything are answered, or refused with a sentence.
  use ExUnit.Case, async: true

  alias Mlx.LM.HTTP.{Job, Reply, Request, Router, Settings}
  alias Mlx.ScriptedServer

  @template "{% for m in messages %}{{ m.role }}{{ m.content }}{% for c in m.tool_calls or [] %}{{ c.function.arguments | tojson }}" <>
              "{% endfor %}{% endfor %}{{ tools }}<tool_call>"

  @schema %{"type" => "object", "properties" => %{"at" => %{"type" => ["string", "null"], "enum" => ["x", nil]}}}
  @function %{"name" => "look", "description" => "Looks", "parameters" => @schema, "strict" => true}

  @bodies %{
    "/v1/chat/completions" => %{
      "model" => "scripted",
      "messages" => [
        %{"role" => "system", "content" => "S"},
        %{"role" => "user", "content" => [%{"type" => "text", "text" => "Hi"}], "name" => "me"},
        %{
          "role" => "assistant",
          "tool_calls" => [%{"id" => "1", "type" => "function", "function" => %{"name" => "look", "arguments" => "{}"}}]
        },
        %{"role" => "tool", "tool_call_id" => "1", "content" => "seen"}
      ],
      "tools" => [%{"type" => "function", "function" => @function}],
      "tool_choice" => %{"type" => "function", "function" => %{"name" => "look"}},
      "temperature" => 0.5,
      "stop" => ["a", "b"],
      "logit_bias" => %{"5" => 1},
      "n" => 2,
      "stream" => true,
      "stream_options" => %{"include_usage" => true},
      "response_format" => %{"type" => "text"},
      "chat_template_kwargs" => %{"enable_thinking" => true, "documents" => [%{}]},
      "metadata" => %{"a" => "b"}
    },
    "/v1/completions" => %{"prompt" => ["a", "b"], "max_tokens" => 5, "stop" => "x", "logprobs" => 2, "n" => 2},
    "/v1/responses" => %{
      "input" => [
        %{"role" => "user", "content" => [%{"type" => "input_text", "text" => "Hi"}]},
        %{"type" => "function_call", "call_id" => "1", "name" => "look", "arguments" => "{}"},
        %{"type" => "function_call_output", "call_id" => "1", "output" => "seen"},
        %{"type" => "reasoning", "summary" => []}
      ],
      "instructions" => "Be brief.",
      "tools" => [Map.put(@function, "type", "function")],
      "tool_choice" => "required",
      "text" => %{"format" => %{"type" => "text"}},
      "reasoning" => %{"effort" => "low"},
      "metadata" => %{"a" => "b"}
    },
    "/v1/messages" => %{
      "model" => "scripted",
      "max_tokens" => 5,
      "system" => [%{"type" => "text", "text" => "S", "cache_control" => %{"type" => "ephemeral"}}],
      "messages" => [
        %{"role" => "user", "content" => "Hi"},
        %{
          "role" => "assistant",
          "content" => [
            %{"type" => "thinking", "thinking" => "hm", "signature" => ""},
            %{"type" => "tool_use", "id" => "1", "name" => "look", "input" => %{"at" => "x"}}
          ]
        },
        %{
          "role" => "user",
          "content" => [%{"type" => "tool_result", "tool_use_id" => "1", "content" => "seen", "is_error" => true}]
        }
      ],
      "tools" => [%{"name" => "look", "input_schema" => @schema}],
      "tool_choice" => %{"type" => "auto", "disable_parallel_tool_use" => true},
      "thinking" => %{"type" => "enabled", "budget_tokens" => 2000},
      "stop_sequences" => ["x"]
    },
    "/v1/messages/count_tokens" => %{
      "model" => "scripted",
      "system" => "S",
      "messages" => [%{"role" => "user", "content" => [%{"type" => "text", "text" => "Hi"}]}],
      "tools" => [%{"name" => "look", "input_schema" => @schema}],
      "tool_choice" => %{"type" => "tool", "name" => "look"},
      "thinking" => %{"type" => "adaptive"},
      "output_config" => %{"effort" => "low"}
    },
    "/v1/embeddings" => %{"input" => ["a", "b"], "encoding_format" => "base64", "dimensions" => 5},
    "/v1/rerank" => %{"query" => "a", "documents" => ["b", %{"text" => "c"}], "top_n" => 1, "return_documents" => true}
  }

  @strange [
             nil,
             true,
             false,
             0,
             -1,
             1.0e300,
             12_345_678_901_234_567_890,
             "",
             "x",
             "auto",
             "\u0000",
             String.duplicate("é", 500)
           ] ++
             [
               [],
               [[]],
               [nil],
               %{},
               %{"type" => "text"},
               %{"type" => 1},
               %{"" => %{}},
               [%{"role" => "user"}],
               ["a", 1, nil]
             ]

  setup_all do
    about = ScriptedServer.about(@template)

    script = fn _prompt, _options ->
      ["Hello ", ~s(<tool_call>{"name": "look", "arguments": {"at": null}}</tool_call>)]
    end

    model = start_supervised!({ScriptedServer, script: script, about: about, test: self()})
    %{settings: Settings.new!([models: [model]], :"LM.HTTP.start_link")}
  end

  # The status of an answer, whose events are run to the end.
  defp status(path, body, settings) do
    headers = [{"content-type", "application/json"}, {"host", "localhost"}]
    request = %Request{method: "POST", path: path, headers: headers, body: JSON.encode!(body)}
    request |> Router.call(settings) |> finish(request, settings)
  end

  defp finish(%Reply{job: nil} = reply, _request, _settings), do: {reply.status, IO.iodata_to_binary(reply.body)}

  defp finish(reply, request, settings) do
    receive do
      message ->
        case Job.message(reply.job, message) do
          :unknown -> finish(reply, request, settings)
          {events, job} -> step(events, %{reply | job: job}, request, settings)
        end
    after
      5000 -> flunk("there is no answer")
    end
  end

  defp step([], reply, request, settings), do: finish(reply, request, settings)

  defp step([event | events], reply, request, settings) do
    case Router.step(reply, event, false, request, settings) do
      {:more, _pieces, reply} -> step(events, reply, request, settings)
      {:end, _pieces} -> {reply.status, ""}
      {:reply, instead} -> finish(instead, request, settings)
    end
  end

  # Another value at a random place, a field that is not there, or one less.
  defp changed(value) do
    case {value, :rand.uniform(4)} do
      {_value, 1} -> Enum.random(@strange)
      {map, 2} when is_map(map) and map != %{} -> Map.delete(map, Enum.random(Map.keys(map)))
      {map, 3} when is_map(map) -> Map.put(map, Enum.random(["x", "type", "content", "name"]), Enum.random(@strange))
      {map, _way} when is_map(map) and map != %{} -> Map.update!(map, Enum.random(Map.keys(map)), &changed/1)
      {[_ | _] = list, _way} -> List.update_at(list, :rand.uniform(length(list)) - 1, &changed/1)
      {_value, _way} -> Enum.random(@strange)
    end
  end

  for {path, body} <- @bodies do
    test "of #{path}", %{settings: settings} do
      {path, body} = unquote(Macro.escape({path, body}))
      :rand.seed(:exsss, {7, 8, 9})
      {whole, text} = status(path, body, settings)
      assert whole == if(path in ["/v1/embeddings", "/v1/rerank"], do: 404, else: 200), text

      for _round <- 1..400 do
        body = body |> changed() |> then(&if(:rand.uniform(2) == 1, do: changed(&1), else: &1))
        {status, text} = status(path, body, settings)
        assert status in [200, 400, 404], "#{status} #{text} for #{inspect(body)}"
        if status != 200, do: assert(String.length(error(text)) > 10)
      end
    end
  end

  defp error(text), do: JSON.decode!(text)["error"]["message"]
end
