defmodule Mlx.HTTPClient do
  @moduledoc "A client of HTTP 1.1 that sends what it is told to, right or wrong, on the loopback."

  @local {127, 0, 0, 1}

  def connect(port, options \\ []) do
    {:ok, socket} = :gen_tcp.connect(@local, port, [:binary, active: false] ++ options)
    socket
  end

  @doc "Sends bytes and returns what comes until the server closes the connection, or for the time."
  def raw(port, bytes, time \\ 5000) do
    socket = connect(port)
    :gen_tcp.send(socket, bytes)
    answer = all(socket, "", time)
    :gen_tcp.close(socket)
    answer
  end

  def all(socket, read, time) do
    case :gen_tcp.recv(socket, 0, time) do
      {:ok, bytes} -> all(socket, read <> bytes, time)
      {:error, :closed} -> read
      {:error, :timeout} -> {:open, read}
      {:error, _reason} -> read
    end
  end

  @doc "The status, headers and body of a request of JSON."
  def post(port, path, value, headers \\ []) do
    request(port, "POST", path, [{"content-type", "application/json"} | headers], JSON.encode!(value))
  end

  def get(port, path, headers \\ []), do: request(port, "GET", path, headers, "")

  def request(port, method, path, headers, body) do
    socket = connect(port)
    :ok = :gen_tcp.send(socket, head(method, path, [{"connection", "close"} | headers], body))
    answer = all(socket, "", 30_000)
    :gen_tcp.close(socket)
    parse(answer)
  end

  @doc "The bytes of a request."
  def head(method, path, headers, body) do
    headers = if List.keymember?(headers, "host", 0), do: headers, else: [{"host", "localhost"} | headers]
    headers = if body == "", do: headers, else: headers ++ [{"content-length", "#{byte_size(body)}"}]
    [method, " ", path, " HTTP/1.1\r\n", for({name, value} <- headers, do: [name, ": ", value, "\r\n"]), "\r\n", body]
  end

  def parse(answer) do
    [head, body] = String.split(answer, "\r\n\r\n", parts: 2)
    ["HTTP/1.1 " <> <<status::binary-size(3), _reason::binary>> | lines] = String.split(head, "\r\n")
    headers = for line <- lines, [name, value] = String.split(line, ": ", parts: 2), into: %{}, do: {name, value}
    body = if headers["transfer-encoding"] == "chunked", do: chunks(body, []), else: body
    {String.to_integer(status), headers, body}
  end

  @doc "The body of chunks."
  def chunks(bytes, read) do
    [size, rest] = String.split(bytes, "\r\n", parts: 2)

    case String.to_integer(size, 16) do
      0 ->
        read |> Enum.reverse() |> Enum.join()

      size ->
        <<piece::binary-size(size), "\r\n", rest::binary>> = rest
        chunks(rest, [piece | read])
    end
  end

  @doc "The values of server-sent events."
  def events(body) do
    for part <- String.split(body, "\n\n", trim: true), line <- String.split(part, "\n") do
      case line do
        "data: [DONE]" -> :done
        "data: " <> json -> JSON.decode!(json)
        _other -> nil
      end
    end
    |> Enum.reject(&is_nil/1)
  end
end
