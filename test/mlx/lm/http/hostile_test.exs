defmodule Mlx.LM.HTTP.HostileTest do
  # Clients that send what they should not, or nothing, or go.
  use ExUnit.Case, async: true

  import Mlx.HTTPClient

  alias Mlx.LM.HTTP
  alias Mlx.ScriptedServer

  @hello %{messages: [%{role: "user", content: "Hi"}]}

  defp serve(pieces, options \\ []) do
    script = fn _prompt, _options -> pieces end
    about = ScriptedServer.about("{{ messages[0].content }}")
    model = start_supervised!({ScriptedServer, script: script, about: about, test: self()}, id: make_ref())
    http = start_supervised!({HTTP, [models: [model], port: 0] ++ options}, id: make_ref())
    HTTP.port(http)
  end

  defp chat(port), do: post(port, "/v1/chat/completions", @hello)
  defp chat_bytes(changes \\ %{}), do: bytes("/v1/chat/completions", JSON.encode!(Map.merge(@hello, changes)))
  defp bytes(path, body), do: IO.iodata_to_binary(head("POST", path, [{"content-type", "application/json"}], body))

  # The status of an answer after which the server closes the connection.
  defp status(answer) when is_binary(answer), do: answer |> parse() |> elem(0)

  wrong = [
    {"bytes that are no text", <<0, 1, 2, 255, 13, 10, 13, 10>>, 400},
    {"a line that is no request", "hello there\r\n\r\n", [400, 501]},
    {"another protocol", "GET / HTTP/9.9\r\nhost: localhost\r\n\r\n", [400, 501]},
    {"TLS", <<22, 3, 1, 0, 5, 1, 0, 0, 1, 3, 13, 10, 13, 10>>, 400},
    {"no host", "GET /health HTTP/1.1\r\n\r\n", 400},
    {"two hosts", "GET /health HTTP/1.1\r\nhost: localhost\r\nhost: localhost\r\n\r\n", 400},
    {"a header without a name", "GET /health HTTP/1.1\r\nhost: localhost\r\n: x\r\n\r\n", 400},
    {"a header with a blank in its name", "GET /health HTTP/1.1\r\nhost: localhost\r\na b: x\r\n\r\n", 400},
    {"two lengths",
     "POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab", 400},
    {"a length and chunks",
     "POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
     400},
    {"a length that is no number",
     "POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-length: -1\r\n\r\n", 400},
    {"another coding", "POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: gzip\r\n\r\n", 501},
    {"chunks that are none",
     "POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
     400},
    {"a chunk of another size",
     "POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n2\r\nabc\r\n0\r\n\r\n",
     400}
  ]

  for {what, bytes, statuses} <- wrong do
    test "#{what}" do
      port = serve(["x"], header_timeout: 1000)
      assert status(raw(port, unquote(bytes))) in unquote(List.wrap(statuses))
      assert {200, _headers, _body} = chat(port)
    end
  end

  test "garbage of all kinds ends the connection, and the server goes on" do
    port = serve(["x"], header_timeout: 300, body_timeout: 300)
    :rand.seed(:exsss, {4, 5, 6})
    whole = chat_bytes()

    1..60
    |> Task.async_stream(
      fn _round ->
        bytes =
          case :rand.uniform(3) do
            1 -> :rand.bytes(:rand.uniform(3000))
            2 -> binary_part(whole, 0, :rand.uniform(byte_size(whole) - 1))
            3 -> changed(whole)
          end

        raw(port, bytes, 4000)
      end,
      max_concurrency: 20,
      timeout: 20_000
    )
    |> Enum.each(fn {:ok, answer} -> assert answer == "" or closed?(answer) end)

    assert {200, _headers, _body} = chat(port)
  end

  # An answer that is whole may be followed by a connection that stays.
  defp closed?({:open, answer}), do: answer =~ "HTTP/1.1 "
  defp closed?(answer), do: answer =~ "HTTP/1.1 "

  defp changed(bytes) do
    at = :rand.uniform(byte_size(bytes)) - 1
    <<before::binary-size(at), _byte, rest::binary>> = bytes
    <<before::binary, :rand.uniform(256) - 1, rest::binary>>
  end

  test "a head that is too long" do
    port = serve(["x"])
    long = "GET /health HTTP/1.1\r\nhost: localhost\r\nx: #{String.duplicate("a", 100_000)}\r\n\r\n"
    assert status(raw(port, long)) == 431
    many = "GET /health HTTP/1.1\r\nhost: localhost\r\n#{String.duplicate("a: b\r\n", 200)}\r\n"
    assert status(raw(port, many)) == 431
    assert status(raw(port, String.duplicate("a", 100_000))) == 431
  end

  test "a body that is too long is refused before it is read" do
    port = serve(["x"], max_body: 1_000_000)
    ten = String.duplicate("a", 10_000_000)
    assert status(raw(port, bytes("/v1/chat/completions", ten))) == 413
    head = "POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
    # Nothing of the body has been sent.
    assert status(raw(port, head <> "content-length: 10000000\r\n\r\n")) == 413
    assert status(raw(port, head <> "expect: 100-continue\r\ncontent-length: 10000000\r\n\r\n")) == 413
    chunks = for _chunk <- 1..160, do: ["10000\r\n", String.duplicate("a", 65_536), "\r\n"]
    assert status(raw(port, [head, "transfer-encoding: chunked\r\n\r\n", chunks, "0\r\n\r\n"])) == 413
    assert status(raw(port, head <> "transfer-encoding: chunked\r\n\r\nFFFFFFFFFFF\r\n")) == 413
  end

  test "a wrong key is refused before the body is read" do
    port = serve(["x"], keys: ["secret"])
    head = "POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
    assert status(raw(port, head <> "authorization: Bearer wrong\r\ncontent-length: 5000000\r\n\r\n")) == 401
  end

  test "a body in chunks, and one that waits to be asked for" do
    port = serve(["Hello"])
    body = JSON.encode!(@hello)
    {a, b} = String.split_at(body, 10)
    size = &Integer.to_string(byte_size(&1), 16)

    head =
      "POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-type: application/json\r\n"

    chunks = "#{size.(a)};x=y\r\n#{a}\r\n#{size.(b)}\r\n#{b}\r\n0\r\nx: y\r\n\r\n"
    assert status(raw(port, head <> "transfer-encoding: chunked\r\n\r\n" <> chunks)) == 200

    socket = connect(port)
    :gen_tcp.send(socket, head <> "expect: 100-continue\r\ncontent-length: #{byte_size(body)}\r\n\r\n")
    assert {:ok, "HTTP/1.1 100 Continue\r\n\r\n"} = :gen_tcp.recv(socket, 0, 5000)
    :gen_tcp.send(socket, body)
    assert status(all(socket, "", 5000)) == 200
  end

  test "half a request, and one that comes too slowly" do
    port = serve(["x"], header_timeout: 300, body_timeout: 300)
    assert status(raw(port, "GET / HT")) == 408
    whole = chat_bytes()
    assert status(raw(port, binary_part(whole, 0, byte_size(whole) - 5))) == 408

    # A byte now and then does not make it longer.
    socket = connect(port)
    :gen_tcp.send(socket, binary_part(whole, 0, byte_size(whole) - 30))

    for _byte <- 1..20 do
      :gen_tcp.send(socket, " ")
      Process.sleep(40)
    end

    assert status(all(socket, "", 5000)) == 408
  end

  test "an idle connection is closed, and so is one that goes" do
    port = serve(["x"], idle_timeout: 200)
    assert raw(port, "") == ""
    socket = connect(port)
    :gen_tcp.send(socket, "GET / HT")
    :gen_tcp.close(socket)
    assert {200, _headers, _body} = get(port, "/health")
  end

  test "a connection is used again, and requests may come before the answer" do
    port = serve(["Hello"])
    socket = connect(port)

    :gen_tcp.send(socket, [
      chat_bytes(),
      chat_bytes(%{stream: true}),
      head("GET", "/health", [{"connection", "close"}], "")
    ])

    answer = all(socket, "", 5000)
    assert length(Regex.scan(~r/HTTP\/1\.1 200 OK/, answer)) == 3
    assert answer =~ "Hello" and answer =~ "[DONE]" and String.ends_with?(answer, ~s({"status":"ok"}))
  end

  test "HTTP 1.0 has no chunks, and its connection ends" do
    port = serve(["Hello"])
    body = JSON.encode!(Map.put(@hello, :stream, true))

    head =
      "POST /v1/chat/completions HTTP/1.0\r\ncontent-type: application/json\r\ncontent-length: #{byte_size(body)}\r\n\r\n"

    answer = raw(port, head <> body)
    refute answer =~ "chunked"
    assert String.ends_with?(answer, "data: [DONE]\n\n")
    assert raw(port, "GET /health HTTP/1.0\r\n\r\n") =~ ~s({"status":"ok"})
  end

  test "HEAD has no body" do
    port = serve(["x"])
    {200, headers, ""} = request(port, "HEAD", "/health", [], "")
    assert headers["content-length"] == "15"
    assert {405, _headers, _body} = request(port, "DELETE", "/health", [], "")
    assert {404, _headers, _body} = get(port, "/nothing")
  end

  for {kind, changes} <- [stream: %{stream: true}, whole: %{}, several: %{n: 3}] do
    test "a client that goes cancels its request: #{kind}" do
      port = serve(["Hel", :stall])
      socket = connect(port)
      :gen_tcp.send(socket, chat_bytes(unquote(Macro.escape(changes))))
      assert_receive {:asked, _prompt, _options}, 5000
      if unquote(kind) == :stream, do: assert({:ok, "HTTP/1.1 200" <> _rest} = :gen_tcp.recv(socket, 0, 5000))
      :gen_tcp.close(socket)
      assert_receive {:cancelled, _ref}, 5000

      if unquote(kind) == :several do
        assert_receive {:cancelled, _ref}, 5000
        assert_receive {:cancelled, _ref}, 5000
      end

      assert {200, _headers, _body} = get(port, "/health")
    end
  end

  test "a client that does not read is cut off, and its request is cancelled" do
    piece = String.duplicate("a", 500_000)
    port = serve(List.duplicate(piece, 40) ++ [:stall], send_timeout: 300)
    socket = connect(port, recbuf: 4096)
    :gen_tcp.send(socket, chat_bytes(%{stream: true}))
    assert_receive {:cancelled, _ref}, 20_000
  end

  test "a stream without pieces has comments" do
    port = serve(["Hel", {:wait, 300}, "lo"], heartbeat: 50)
    {200, _headers, body} = post(port, "/v1/chat/completions", Map.put(@hello, :stream, true))
    assert body =~ "\n\n: \n\n"
    assert List.last(events(body)) == :done
  end

  test "a client that sends on and on while it waits is cut off" do
    port = serve([:stall])
    socket = connect(port)
    :gen_tcp.send(socket, chat_bytes())
    assert_receive {:asked, _prompt, _options}, 5000
    :gen_tcp.send(socket, String.duplicate("a", 200_000))
    assert_receive {:cancelled, _ref}, 5000
  end

  test "more connections than there may be are refused" do
    port = serve(["x"], max_connections: 3)
    sockets = for _socket <- 1..3, do: connect(port)
    for socket <- sockets, do: :gen_tcp.send(socket, head("GET", "/health", [], ""))
    for socket <- sockets, do: assert({:ok, "HTTP/1.1 200" <> _rest} = :gen_tcp.recv(socket, 0, 5000))
    assert status(raw(port, "")) == 503
    Enum.each(sockets, &:gen_tcp.close/1)
  end

  test "many connections at once" do
    port = serve(["Hello"])

    answers = Task.async_stream(1..300, fn _client -> chat(port) end, max_concurrency: 100, timeout: 60_000)
    for {:ok, answer} <- answers, do: assert({200, _headers, _body} = answer)
  end

  test "a stop lets answers come to their end, and closes what is idle" do
    Process.flag(:trap_exit, true)
    script = fn _prompt, _options -> ["Hel", {:wait, 300}, "lo"] end
    about = ScriptedServer.about("{{ messages[0].content }}")
    model = start_supervised!({ScriptedServer, script: script, about: about, test: self()})
    {:ok, http} = HTTP.start_link(models: [model], port: 0)
    port = HTTP.port(http)
    idle = connect(port)
    socket = connect(port)
    :gen_tcp.send(socket, chat_bytes(%{stream: true}))
    assert_receive {:asked, _prompt, _options}, 5000
    stopping = Task.async(fn -> Supervisor.stop(http, :shutdown) end)
    assert all(socket, "", 5000) =~ "[DONE]"
    assert all(idle, "", 5000) == ""
    assert Task.await(stopping) == :ok
    assert {:error, :econnrefused} = :gen_tcp.connect({127, 0, 0, 1}, port, [])
  end

  test "answers that are not at their end after the time of a stop fail" do
    Process.flag(:trap_exit, true)
    about = ScriptedServer.about("{{ messages[0].content }}")
    model = start_supervised!({ScriptedServer, script: fn _p, _o -> ["Hel", :stall] end, about: about, test: self()})
    {:ok, http} = HTTP.start_link(models: [model], port: 0, drain: 100)
    [stream, whole] = for _socket <- 1..2, do: connect(HTTP.port(http))
    :gen_tcp.send(stream, chat_bytes(%{stream: true}))
    :gen_tcp.send(whole, chat_bytes())
    for _request <- 1..2, do: assert_receive({:asked, _prompt, _options}, 5000)
    stopping = Task.async(fn -> Supervisor.stop(http, :shutdown) end)
    {200, _headers, body} = parse(all(stream, "", 5000))

    assert [_role, _text, %{"error" => %{"code" => "shutting_down", "message" => "the server stops"}}, :done] =
             events(body)

    assert {503, %{"connection" => "close"}, _body} = parse(all(whole, "", 5000))
    for _request <- 1..2, do: assert_receive({:cancelled, _ref}, 5000)
    assert Task.await(stopping) == :ok
  end

  test "a model's server that dies fails its answers, and the interface goes on" do
    Process.flag(:trap_exit, true)
    about = ScriptedServer.about("{{ messages[0].content }}")
    {:ok, model} = ScriptedServer.start_link(script: fn _p, _o -> [:stall] end, about: about, test: self())
    port = HTTP.port(start_supervised!({HTTP, models: [{"m", model}], port: 0}))
    asked = Task.async(fn -> chat(port) end)
    assert_receive {:asked, _prompt, _options}, 5000
    Process.exit(model, :kill)
    assert {500, _headers, body} = Task.await(asked)
    assert body =~ "the model's server has ended"
    assert {503, _headers, _body} = chat(port)
    assert {200, _headers, _body} = get(port, "/health")
  end
end
