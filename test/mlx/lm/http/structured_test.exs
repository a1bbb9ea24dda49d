defmodule Mlx.LM.HTTP.StructuredTest do
  # Structure that a request asks for, with a model of random weights, which writes no JSON of itself.
  use ExUnit.Case, async: true

  import Mlx.HTTPClient

  alias Mlx.LM.{HTTP, Server}
  alias Mlx.TinyLlama

  @moduletag :tmp_dir

  @schema %{
    type: "object",
    properties: %{
      name: %{type: "string", maxLength: 8},
      tags: %{type: "array", items: %{enum: ["new", "old"]}, maxItems: 3}
    },
    required: ["name", "tags"],
    additionalProperties: false
  }

  @look %{
    type: "object",
    properties: %{at: %{enum: ["sea", "sky"]}, times: %{type: "integer", minimum: 0, maximum: 99}},
    required: ["at", "times"],
    additionalProperties: false
  }

  setup %{tmp_dir: folder} do
    path = Path.join(folder, "tiny.gguf")
    TinyLlama.save(path, %{"llama.context_length" => 2000})
    server = start_supervised!({Server, model: Mlx.LM.load(path, type: :f32)})
    http = start_supervised!({HTTP, models: [{"tiny", server}], port: 0})
    %{port: HTTP.port(http)}
  end

  defp ask(port, path, fields) do
    {status, _headers, body} = post(port, path, Map.merge(%{temperature: 1.0}, fields))
    {status, JSON.decode!(body)}
  end

  defp chat(port, fields) do
    ask(port, "/v1/chat/completions", Map.merge(%{messages: [%{role: "user", content: "Hi"}]}, fields))
  end

  defp valid?(text),
    do: match?(%{"name" => name, "tags" => tags} when is_binary(name) and is_list(tags), JSON.decode!(text))

  defp tool(name, schema), do: %{type: "function", function: %{name: name, parameters: schema}}

  defp looked?(%{"at" => at, "times" => times} = arguments),
    do: map_size(arguments) == 2 and at in ["sea", "sky"] and times in 0..99

  test "answers are JSON of the schema, those of many requests at once, and others are free", %{port: port} do
    format = %{type: "json_schema", json_schema: %{name: "x", strict: true, schema: @schema}}

    answers =
      1..12
      |> Task.async_stream(
        fn seed ->
          fields = if rem(seed, 3) == 0, do: %{}, else: %{response_format: format}
          {seed, chat(port, Map.merge(fields, %{seed: seed, max_tokens: 300}))}
        end,
        max_concurrency: 12,
        timeout: 120_000
      )
      |> Enum.map(fn {:ok, answer} -> answer end)

    for {seed, {200, %{"choices" => [%{"message" => %{"content" => text}, "finish_reason" => reason}]}}} <- answers do
      if rem(seed, 3) == 0,
        do: assert({:error, _reason} = JSON.decode(text)),
        else: assert({seed, reason, valid?(text)} == {seed, "stop", true})
    end

    assert length(answers) == 12
  end

  test "json_object is an object", %{port: port} do
    for seed <- 1..4 do
      fields = %{response_format: %{type: "json_object"}, seed: seed, max_tokens: 500, temperature: 2.0}
      assert {200, %{"choices" => [choice]}} = chat(port, fields)
      text = choice["message"]["content"]
      assert String.starts_with?(text, "{")
      if choice["finish_reason"] == "stop", do: assert(is_map(JSON.decode!(text)))
    end
  end

  test "a stream is JSON, too", %{port: port} do
    format = %{type: "json_schema", json_schema: %{name: "x", schema: @schema}}

    fields = %{
      messages: [%{role: "user", content: "Hi"}],
      response_format: format,
      stream: true,
      max_tokens: 300,
      seed: 4,
      temperature: 1.0
    }

    {200, _headers, body} = post(port, "/v1/chat/completions", fields)

    text =
      for "data: {" <> rest <- String.split(body, "\n"),
          %{"choices" => [%{"delta" => %{"content" => part}}]} <- [JSON.decode!("{" <> rest)],
          is_binary(part),
          into: "",
          do: part

    assert valid?(text)
  end

  test "calls that must be have arguments of their schema", %{port: port} do
    tool = tool("look", @look)

    for {choice, seed} <- Enum.with_index(["required", %{type: "function", function: %{name: "look"}}]) do
      fields = %{tools: [tool], tool_choice: choice, seed: seed, max_tokens: 200}
      assert {200, %{"choices" => [%{"message" => message, "finish_reason" => "tool_calls"}]}} = chat(port, fields)
      assert [%{"function" => %{"name" => "look", "arguments" => arguments}}] = message["tool_calls"]
      assert looked?(JSON.decode!(arguments))
    end
  end

  test "calls of any of several tools are of the schema of theirs", %{port: port} do
    add = %{type: "object", properties: %{sum: %{type: "integer"}}, required: ["sum"], additionalProperties: false}
    tools = for {name, schema} <- [look: @look, add: add], do: tool(name, schema)

    names =
      for seed <- 1..8 do
        fields = %{tools: tools, tool_choice: "required", seed: seed, max_tokens: 300, temperature: 2.0}
        assert {200, %{"choices" => [%{"message" => message, "finish_reason" => "tool_calls"}]}} = chat(port, fields)
        assert [%{"function" => %{"name" => name, "arguments" => arguments}}] = message["tool_calls"]
        assert message["content"] in [nil, ""]

        case name do
          "look" -> assert looked?(JSON.decode!(arguments))
          "add" -> assert match?(%{"sum" => sum} when is_integer(sum), JSON.decode!(arguments))
        end

        name
      end

    assert Enum.uniq(Enum.sort(names)) == ["add", "look"]
  end

  test "the other interfaces", %{port: port} do
    format = %{type: "json_schema", name: "x", schema: @schema}
    fields = %{input: "Hi", text: %{format: format}, max_output_tokens: 300}
    assert {200, %{"output" => [%{"content" => [%{"text" => text}]}]}} = ask(port, "/v1/responses", fields)
    assert valid?(text)

    messages = %{model: "tiny", messages: [%{role: "user", content: "Hi"}], max_tokens: 300}
    format = %{output_config: %{format: %{type: "json_schema", schema: @schema}}}

    assert {200, %{"content" => [%{"type" => "text", "text" => text}]}} =
             ask(port, "/v1/messages", Map.merge(messages, format))

    assert valid?(text)
    tool = %{name: "look", input_schema: @look}
    tools = %{tools: [tool], tool_choice: %{type: "any"}}

    assert {200, %{"content" => [%{"type" => "tool_use"} = use]}} =
             ask(port, "/v1/messages", Map.merge(messages, tools))

    assert use["name"] == "look" and looked?(use["input"])
  end
end
