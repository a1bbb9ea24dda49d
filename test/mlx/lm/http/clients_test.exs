defmodule Mlx.LM.HTTP.ClientsTest do
  # PyPI's openai and anthropic against the interfaces, with a real model.
  use ExUnit.Case, async: true

  alias Mlx.LM.HTTP

  @moduletag :oracle
  @moduletag :model
  @moduletag :embedder
  # Some thirty answers of a real model, on a machine that may be busy.
  @moduletag timeout: 1_800_000
  @script Path.expand("../../../oracle/http_clients.py", __DIR__)

  @paris "The capital of France is Paris."
  @call ["get_weather", %{"city" => "Paris"}]

  setup_all do
    embedder = Mlx.LM.Embedder.load(System.fetch_env!("MLX_TEST_EMBEDDER"))
    model = start_supervised!({Mlx.LM.Server, model: System.fetch_env!("MLX_TEST_MODEL")})
    options = [models: [{"smol", model}], embedders: [{"embedder", embedder}], port: 0, keys: ["other", "secret"]]
    http = start_supervised!({HTTP, options})
    %{base: "http://127.0.0.1:#{HTTP.port(http)}", own: embedder}
  end

  defp results(client, base) do
    arguments = [@script, client, base, "secret"]
    {output, status} = System.cmd(System.fetch_env!("MLX_ORACLE_PYTHON"), arguments, stderr_to_stdout: true)
    assert status == 0, output
    output |> String.split("\n", trim: true) |> List.last() |> JSON.decode!()
  end

  test "openai", %{base: base, own: embedder} do
    results = results("openai", base)

    assert Map.take(
             results,
             ~w(model chat finish_reason stream stream_helper stop length response response_status response_stream)
           ) == %{
             "model" => "smol",
             "chat" => @paris,
             "finish_reason" => "stop",
             "stream" => @paris,
             "stream_helper" => @paris,
             "stop" => "The capital of France is",
             "length" => "length",
             "response" => @paris,
             "response_status" => "completed",
             "response_stream" => @paris
           }

    assert %{"prompt_tokens" => 37, "completion_tokens" => 8, "total_tokens" => 45} = results["usage"]
    # The second time the prompt is in the cache, but for its last token.
    counts = &Map.take(&1, ~w(prompt_tokens completion_tokens total_tokens))
    assert counts.(results["stream_usage"]) == counts.(results["usage"])
    assert results["stream_usage"]["prompt_tokens_details"]["cached_tokens"] == 36
    assert %{"input_tokens" => 37, "output_tokens" => 8} = results["response_usage"]
    assert Enum.map_join(results["logprobs"], fn [token, _logprob, _top] -> token end) == @paris
    assert Enum.all?(results["logprobs"], fn [_token, logprob, top] -> logprob <= 0 and top == 2 end)
    assert results["completion"] =~ "Paris"
    assert results["completion_stream"] == results["completion"]

    assert results["tool_calls"] == [@call] and results["tool_stream"] == [@call]
    assert results["response_calls"] == [@call] and results["response_stream_calls"] == [@call]
    assert results["tool_finish"] == "tool_calls"
    assert results["tool_turn"] =~ "Sunny"

    for event <-
          ~w(created in_progress output_item.added content_part.added output_text.delta output_text.done completed) do
      assert "response.#{event}" in results["response_stream_types"]
    end

    assert %{"name" => name, "age" => age} = results["response_format"]
    assert is_binary(name) and is_integer(age)

    own = embedder |> Mlx.LM.Embedder.embed(["The cat sits outside", "A cat is in the garden"]) |> Mlx.to_list()
    for {vector, expected} <- Enum.zip(results["embeddings"], own), do: assert(near?(vector, expected))
    for {vector, expected} <- Enum.zip(results["embeddings_float"], own), do: assert(near?(vector, expected))
    assert length(results["embeddings"]) == 2 and results["embedding_tokens"] == 14

    assert results["unknown_model"] == ["NotFoundError", "model_not_found", "model"]
    assert results["unknown_field"] == ["BadRequestError", "unknown_parameter", "temprature"]
    assert results["wrong_key"] == ["AuthenticationError", "invalid_api_key", nil]
    assert results["too_long"] == ["BadRequestError", "context_length_exceeded", nil]
  end

  defp near?(a, b), do: length(a) == length(b) and Enum.all?(Enum.zip(a, b), fn {x, y} -> abs(x - y) < 1.0e-6 end)

  test "anthropic", %{base: base} do
    assert results("anthropic", base) == %{
             "text" => @paris,
             "stop_reason" => "end_turn",
             "usage" => [37, 8],
             "stream" => @paris,
             "stream_stop_reason" => "end_turn",
             "stream_usage" => [37, 8],
             "stop_sequence" => ["The capital of France is", "stop_sequence", " Paris"],
             "length" => "max_tokens",
             "count" => 37,
             "tool_use" => [@call],
             "tool_stop_reason" => "tool_use",
             "tool_stream" => [@call],
             "tool_turn" => "Sunny in Paris.",
             "unknown_model" => ["NotFoundError", "not_found_error"],
             "unknown_field" => ["BadRequestError", "invalid_request_error"],
             "wrong_key" => ["AuthenticationError", "authentication_error"]
           }
  end
end
