if Code.ensure_loaded?(Plug.Test) do
  defmodule Mlx.LM.HTTP.PlugTest do
    use ExUnit.Case, async: true

    alias Mlx.{HTTPClient, ScriptedServer}

    setup do
      script = fn _prompt, _options -> ["Hel", "lo"] end
      options = [script: script, about: ScriptedServer.about("{{ messages[0].content }}"), test: self()]
      %{model: start_supervised!({ScriptedServer, options})}
    end

    @hello %{messages: [%{role: "user", content: "Hi"}]}

    defp post(path, value, options, headers \\ []) do
      conn = Plug.Test.conn("POST", path, if(is_binary(value), do: value, else: JSON.encode!(value)))
      headers = [{"content-type", "application/json"} | headers]
      conn = Enum.reduce(headers, conn, fn {name, value}, conn -> Plug.Conn.put_req_header(conn, name, value) end)
      Mlx.LM.HTTP.Plug.call(%{conn | host: "localhost"}, Mlx.LM.HTTP.Plug.init(options))
    end

    test "a chat, whole and streamed", %{model: model} do
      conn = post("/v1/chat/completions", @hello, models: [model])
      assert conn.status == 200
      assert %{"choices" => [%{"message" => %{"content" => "Hello"}}]} = JSON.decode!(conn.resp_body)

      conn = post("/v1/chat/completions", Map.put(@hello, :stream, true), models: [model], origins: :any)
      assert conn.status == 200 and conn.state == :chunked
      assert ["text/event-stream" <> _charset] = Plug.Conn.get_resp_header(conn, "content-type")
      assert [_role, _hel, _lo, _end, :done] = HTTPClient.events(conn.resp_body)
    end

    test "what is wrong", %{model: model} do
      assert %{status: 400, resp_body: body} = post("/v1/chat/completions", %{messages: []}, models: [model])
      assert %{"error" => %{"param" => "messages"}} = JSON.decode!(body)
      assert %{status: 401} = post("/v1/chat/completions", @hello, models: [model], keys: ["secret"])
      headers = [{"authorization", "Bearer secret"}]
      assert %{status: 200} = post("/v1/chat/completions", @hello, [models: [model], keys: ["secret"]], headers)
      assert %{status: 413} = post("/v1/chat/completions", String.duplicate("a", 1001), models: [model], max_body: 1000)
      assert %{status: 404} = post("/nothing", @hello, models: [model])
      assert_raise ArgumentError, ~r/:port is the matter of the web server/, fn -> Mlx.LM.HTTP.Plug.init(port: 1) end
    end

    test "the page is at the place of the plug", %{model: model} do
      conn = %{Plug.Test.conn("GET", "/") | host: "localhost"}
      conn = Mlx.LM.HTTP.Plug.call(conn, Mlx.LM.HTTP.Plug.init(models: [model]))
      assert conn.status == 200 and conn.resp_body =~ "<!doctype html>"
    end
  end
end
