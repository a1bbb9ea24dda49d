defmodule Mlx.Stress.Soak.Clients do
  @moduledoc false
  # What clients do: most of it is wrong. Each does one thing at a time, and counts what came of it. What must not come is
  # raised.

  import Mlx.HTTPClient, only: [all: 3, chunks: 2, connect: 1, connect: 2, events: 1]

  @key "soak"

  # The longest that anybody waits, in ms. The server has 30 s for an answer.
  @patience 60_000

  @kinds [
    asks: 6,
    streams: 6,
    structured: 2,
    cancels: 4,
    goes_at_once: 3,
    reads_slowly: 2,
    stops_reading: 1,
    sends_garbage: 2,
    sends_half: 2,
    waits_with_half: 1,
    drips: 1,
    sends_10_megabytes: 1,
    has_wrong_key: 2,
    asks_for_nonsense: 2,
    sends_several: 1,
    opens_many: 1
  ]

  @drawn for {kind, weight} <- @kinds, _time <- 1..weight, do: kind

  # To make it takes longer than /health may.
  @large {__MODULE__, :large}

  @doc "Makes what all clients share, once."
  @spec prepare() :: :ok
  def prepare, do: :persistent_term.put(@large, String.duplicate("a", 10_000_000))

  @doc "The key that the server wants."
  @spec key() :: String.t()
  def key, do: @key

  @doc "One thing that a client does, counted in the table by its kind and what came of it."
  @spec step(pos_integer(), :inet.port_number(), :ets.table()) :: integer()
  def step(_number, port, outcomes) do
    kind = Enum.random(@drawn)
    outcome = act(kind, port)
    :ets.update_counter(outcomes, {kind, outcome}, 1, {{kind, outcome}, 0})
  end

  # ---- requests that are right

  defp act(:asks, port), do: port |> exchange(request(%{})) |> answered()
  defp act(:streams, port), do: port |> exchange(request(%{"stream" => true})) |> answered()

  defp act(:structured, port) do
    schema = %{
      type: "object",
      properties: %{a: %{type: "integer", minimum: 0, maximum: 99}, b: %{enum: ["x", "y"]}},
      required: ["a", "b"],
      additionalProperties: false
    }

    format = %{type: "json_schema", json_schema: %{name: "x", strict: true, schema: schema}}
    body = Map.merge(chat(), %{response_format: format, max_tokens: 40})
    port |> exchange(bytes("/v1/chat/completions", body)) |> answered()
  end

  # What comes before the answer of the first request is read is answered in order.
  defp act(:sends_several, port) do
    body = chat()
    socket = connect(port)
    :gen_tcp.send(socket, [bytes("/v1/chat/completions", body, "keep-alive"), request(%{"stream" => true})])
    answer = read(socket)
    if length(:binary.matches(answer, "HTTP/1.1 ")) == 2, do: :answered, else: cut(answer)
  end

  defp act(:reads_slowly, port) do
    socket = connect(port, recbuf: 2048)
    :gen_tcp.send(socket, request(%{"stream" => true}))
    Process.sleep(Enum.random(100..3000))
    socket |> read() |> answered()
  end

  # ---- clients that go

  defp act(:cancels, port) do
    socket = connect(port)
    :gen_tcp.send(socket, request(%{"stream" => true, "max_tokens" => 200}))
    {_result, _bytes} = :gen_tcp.recv(socket, 0, Enum.random(1..300))
    :gen_tcp.close(socket)
    :gone
  end

  defp act(:goes_at_once, port) do
    socket = connect(port)
    :gen_tcp.send(socket, request(Enum.random([%{}, %{"stream" => true}])))
    :gen_tcp.close(socket)
    :gone
  end

  defp act(:stops_reading, port) do
    socket = connect(port, recbuf: 1024)
    :gen_tcp.send(socket, request(%{"stream" => true, "max_tokens" => 400}))
    Process.sleep(Enum.random(1000..5000))
    :gen_tcp.close(socket)
    :gone
  end

  defp act(:sends_half, port) do
    socket = connect(port)
    :gen_tcp.send(socket, half())
    Process.sleep(Enum.random(0..100))
    :gen_tcp.close(socket)
    :gone
  end

  # ---- clients that are wrong

  defp act(:waits_with_half, port), do: port |> exchange(half()) |> status([408])

  defp act(:drips, port) do
    socket = connect(port)

    socket |> drip(60) |> status([400, 408])
  end

  defp act(:sends_garbage, port) do
    bytes =
      case :rand.uniform(3) do
        1 -> :rand.bytes(:rand.uniform(30_000))
        2 -> changed(IO.iodata_to_binary(request(%{})))
        3 -> ["GET ", String.duplicate("a", :rand.uniform(40_000)), " HTTP/1.1\r\n\r\n"]
      end

    # A byte that is changed may leave a request that is right, or a body that is longer.
    port |> exchange(bytes) |> status(nil)
  end

  defp act(:sends_10_megabytes, port) do
    port |> exchange(bytes("/v1/chat/completions", :persistent_term.get(@large))) |> status([413])
  end

  defp act(:has_wrong_key, port) do
    port |> exchange(bytes("/v1/messages", chat(), "close", "wrong")) |> status([401])
  end

  defp act(:asks_for_nonsense, port) do
    body =
      Enum.random([
        "{",
        "[]",
        Map.put(chat(), :nothing, 1),
        Map.put(chat(), :temperature, "hot"),
        Map.put(chat(), :messages, []),
        Map.put(chat(), :messages, [%{role: "user", content: String.duplicate("long ", 5000)}]),
        String.duplicate("[", 100_000)
      ])

    port |> exchange(bytes("/v1/chat/completions", body)) |> status([400, 503])
  end

  defp act(:opens_many, port) do
    sockets = for _socket <- 1..20, do: connect(port)
    Process.sleep(Enum.random(0..1000))
    Enum.each(sockets, &:gen_tcp.close/1)
    :gone
  end

  # A byte now and then, until there is an answer.
  defp drip(socket, 0), do: read(socket)

  defp drip(socket, left) do
    :gen_tcp.send(socket, "x")

    case :gen_tcp.recv(socket, 0, 50) do
      {:error, :timeout} -> drip(socket, left - 1)
      {:ok, bytes} -> bytes <> read(socket)
      {:error, _closed} -> ""
    end
  end

  # ---- bytes

  defp request(changes) do
    {path, body} =
      Enum.random([
        {"/v1/chat/completions", chat()},
        {"/v1/completions", %{model: "m", prompt: text(), max_tokens: tokens()}},
        {"/v1/messages", chat()},
        {"/v1/responses", %{model: "m", input: text(), max_output_tokens: tokens()}}
      ])

    changes = if path == "/v1/responses", do: Map.delete(changes, "max_tokens"), else: changes
    bytes(path, Map.merge(Map.new(body, fn {name, value} -> {to_string(name), value} end), changes))
  end

  defp chat, do: %{model: "m", messages: [%{role: "user", content: text()}], max_tokens: tokens()}
  defp text, do: String.duplicate(Enum.random(["a", "ab ", "é", "x y z "]), Enum.random(1..60))
  defp tokens, do: Enum.random(1..30)

  defp bytes(path, body, connection \\ "close", key \\ @key) do
    body = if is_binary(body), do: body, else: JSON.encode_to_iodata!(body)

    [
      "POST #{path} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer #{key}\r\nconnection: #{connection}\r\n",
      "content-type: application/json\r\ncontent-length: #{IO.iodata_length(body)}\r\n\r\n",
      body
    ]
  end

  defp half do
    whole = IO.iodata_to_binary(request(%{}))
    binary_part(whole, 0, Enum.random(1..(byte_size(whole) - 1)))
  end

  defp changed(bytes) do
    at = :rand.uniform(byte_size(bytes)) - 1
    <<before::binary-size(at), _byte, rest::binary>> = bytes
    <<before::binary, :rand.uniform(256) - 1, rest::binary>>
  end

  defp exchange(port, bytes) do
    socket = connect(port)
    :gen_tcp.send(socket, bytes)
    read(socket)
  end

  defp read(socket) do
    case all(socket, "", @patience) do
      {:open, read} -> raise "no end of the answer within #{@patience} ms, after #{inspect(read, printable_limit: 200)}"
      read -> :gen_tcp.close(socket) && read
    end
  end

  # ---- what came

  # An answer as a whole, or a clean refusal.
  defp answered(answer) do
    case parts(answer) do
      nil -> :cut
      {200, headers, body} -> whole(headers, body)
      {429, _headers, _body} -> :refused
      {529, _headers, _body} -> :refused
      {503, _headers, _body} -> :not_there
      {500, _headers, body} -> failed(body)
      {504, _headers, _body} -> :late
      {status, _headers, body} -> raise "an answer of the status #{status}: #{slice(body)}"
    end
  end

  defp whole(%{"content-type" => "text/event-stream" <> _rest} = headers, body) do
    cond do
      # The chunks have no end.
      headers["transfer-encoding"] == "chunked" and body == nil -> :cut
      body =~ ~r/"type":"(response\.failed|error)"|"error":\{/ -> failed(body)
      :done in events(body) -> :answered
      body =~ "message_stop" or body =~ ~r/response\.(completed|incomplete)/ -> :answered
      true -> raise "a stream without its last event: #{slice(body)}"
    end
  end

  defp whole(%{"content-length" => length}, body) do
    if byte_size(body) == String.to_integer(length), do: JSON.decode!(body) && :answered, else: :cut
  end

  defp failed(body) do
    if body =~ ~r/has ended|broke down|the server stops|could not be read|is not there|has failed/,
      do: :failed,
      else: raise("a failure without its reason: #{slice(body)}")
  end

  # An answer of one of some statuses; any for nil.
  defp status(answer, statuses) do
    case parts(answer) do
      nil -> if statuses, do: :cut, else: :closed
      {status, _headers, _body} when statuses == nil -> :"#{div(status, 100)}xx"
      {500, _headers, body} -> failed(body)
      {status, _headers, body} -> if status in statuses, do: :right, else: raise("the status #{status}: #{slice(body)}")
    end
  end

  defp cut(""), do: :cut
  defp cut(answer), do: answered(answer)

  # nil where the connection ended before the answer did.
  defp parts(answer) do
    with [head, body] <- String.split(answer, "\r\n\r\n", parts: 2),
         ["HTTP/1.1 " <> <<status::binary-size(3), _reason::binary>> | lines] <- String.split(head, "\r\n") do
      headers = for line <- lines, [name, value] = String.split(line, ": ", parts: 2), into: %{}, do: {name, value}
      {String.to_integer(status), headers, body(headers, body)}
    else
      _part -> nil
    end
  end

  defp body(%{"transfer-encoding" => "chunked"}, body) do
    chunks(body, [])
  rescue
    _error in [MatchError, ArgumentError] -> nil
  end

  defp body(_headers, body), do: body

  defp slice(text), do: text |> inspect(printable_limit: 300) |> String.slice(0, 400)
end
