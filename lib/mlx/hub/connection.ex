defmodule Mlx.Hub.Connection do
  @moduledoc false
  # One exchange with a server by HTTP 1.1, which follows no redirect and tries nothing again. What a server sends of a file is
  # read when the next piece of it is asked for, and of an answer that is no file only the head.
  #
  # OTP's own client would be shorter. It holds the whole of an answer that is no file, and of a chunk, in memory. It waits and
  # asks again by itself for the status 503. And where a server sends nonsense as the time to wait, it ends with a message in the
  # log that holds the request with its token, and all other exchanges end with it.

  alias Mlx.Hub.{Address, Settings, Wire}

  # How often a process that waits looks whether it should stop.
  @look 250

  @most_head 65_536
  @most_line 1024

  # Pieces of 64 KB, where the default is that of one packet.
  @socket [:binary, active: false, packet: :raw, buffer: 65_536, nodelay: true, send_timeout: 30_000]

  # `body` is what is still to come: `{:length, bytes}`, `:to_the_end`, or in chunks `:size`, `{:chunk, bytes}`, `:line`, `:done`.
  defstruct [:wire, :body, :timeout, :stop, buffer: ""]

  @type t :: %__MODULE__{}
  @type headers :: [{String.t(), String.t()}]
  @typedoc "The head of an answer, or an answer whose body can be read piece by piece."
  @type answer :: {:head, status :: pos_integer(), headers()} | {:pieces, headers(), t()}

  @doc """
  Sends a request and waits for the head of the answer. A body of pieces has the status 200, or 206 where there is a header
  `content-range`. `stop` is asked while it waits.
  """
  @spec open(:get | :head, String.t(), headers(), Settings.t(), (-> boolean())) :: {:ok, answer()} | {:error, term()}
  def open(method, address, headers, settings, stop \\ fn -> false end) do
    uri = URI.parse(address)

    with {:ok, wire, target, more} <- connect(uri, address, settings, stop) do
      connection = %__MODULE__{wire: wire, timeout: settings.timeout, stop: stop}

      with :ok <- Wire.send(wire, request(method, target, uri, more ++ headers)),
           {:ok, status, answered, connection} <- head(connection) do
        begin(method, status, answered, connection)
      else
        {:error, reason} -> give_up(connection, reason)
      end
    end
  end

  defp connect(uri, address, settings, stop) do
    case {Address.proxy(address), uri.scheme} do
      {nil, scheme} ->
        with {:ok, wire} <- Wire.connect(scheme, uri.host, uri.port, @socket, settings.connect_timeout),
             do: {:ok, wire, path(uri), []}

      {{host, port, user}, "http"} ->
        with {:ok, wire} <- Wire.connect("http", host, port, @socket, settings.connect_timeout),
             do: {:ok, wire, "http://#{host(uri)}#{path(uri)}", proxy_user(user)}

      {{host, port, user}, "https"} ->
        with {:ok, wire} <- Wire.connect("http", host, port, @socket, settings.connect_timeout),
             {:ok, wire} <- tunnel(wire, uri, user, settings, stop),
             do: {:ok, wire, path(uri), []}
    end
  end

  defp tunnel(wire, uri, user, settings, stop) do
    connection = %__MODULE__{wire: wire, timeout: settings.timeout, stop: stop}
    target = "#{bracketed(uri.host)}:#{uri.port}"

    with :ok <- Wire.send(wire, lines("CONNECT #{target} HTTP/1.1", [{"host", target} | proxy_user(user)])),
         {:ok, 200, _headers, %{buffer: ""}} <- head(connection),
         {:ok, wire} <- Wire.secure(wire, uri.host, settings.connect_timeout) do
      {:ok, wire}
    else
      {:ok, status, _headers, _connection} -> give_up(connection, {:proxy, status})
      {:error, reason} -> give_up(connection, reason)
    end
  end

  defp proxy_user(nil), do: []
  defp proxy_user(user), do: [{"proxy-authorization", "Basic " <> Base.encode64(URI.decode(user))}]

  defp request(method, target, uri, headers) do
    line = "#{method |> to_string() |> String.upcase()} #{target} HTTP/1.1"
    fixed = [{"host", host(uri)}, {"connection", "close"}, {"accept", "*/*"}, {"accept-encoding", "identity"}]
    lines(line, fixed ++ [{"user-agent", "mlx-elixir/#{Application.spec(:mlx, :vsn)}"} | headers])
  end

  defp lines(line, headers), do: [line, "\r\n", for({name, value} <- headers, do: [name, ": ", value, "\r\n"]), "\r\n"]

  # No character of an address may end the line.
  defp path(uri), do: Address.visible(uri.path || "/") <> if(uri.query, do: "?" <> Address.visible(uri.query), else: "")

  defp host(%{host: host, port: port, scheme: scheme}) do
    if port == URI.default_port(scheme), do: bracketed(host), else: "#{bracketed(host)}:#{port}"
  end

  defp bracketed(host), do: if(String.contains?(host, ":"), do: "[#{host}]", else: host)

  # What is between the request and its answer, as "100 Continue", is left out.
  defp head(connection) do
    case status(connection, now() + connection.timeout) do
      {:ok, status, _headers, connection} when status in 100..199 and status != 101 -> head(connection)
      result -> result
    end
  end

  defp status(connection, deadline) do
    case packet(connection, :http_bin, deadline) do
      {:ok, {:http_response, _version, status, _reason}, connection} when status in 100..999 ->
        headers(connection, status, [], deadline)

      {:ok, _other, _connection} ->
        {:error, :no_http}

      {:error, reason} ->
        {:error, reason}
    end
  end

  defp headers(connection, status, headers, deadline) do
    case packet(connection, :httph_bin, deadline) do
      {:ok, {:http_header, _index, name, _original, value}, connection} ->
        # All of them together are bounded, too.
        headers = [{name |> to_string() |> String.downcase(), value} | headers]
        if length(headers) > 200, do: {:error, :no_http}, else: headers(connection, status, headers, deadline)

      {:ok, :http_eoh, connection} ->
        {:ok, status, Enum.reverse(headers), connection}

      {:ok, _other, _connection} ->
        {:error, :no_http}

      {:error, reason} ->
        {:error, reason}
    end
  end

  defp packet(%{buffer: buffer} = connection, kind, deadline) do
    case :erlang.decode_packet(kind, buffer, []) do
      {:ok, packet, rest} ->
        {:ok, packet, %{connection | buffer: rest}}

      {:more, _length} when byte_size(buffer) > @most_head ->
        {:error, :no_http}

      {:more, _length} ->
        with {:ok, bytes} <- receive_bytes(connection, deadline),
             do: packet(%{connection | buffer: buffer <> bytes}, kind, deadline)

      {:error, _reason} ->
        {:error, :no_http}
    end
  end

  defp begin(method, status, headers, connection) when status in [200, 206] do
    # A part is one that says so.
    headers = if status == 200, do: List.keydelete(headers, "content-range", 0), else: headers

    case body(method, headers) do
      {:ok, body} -> {:ok, {:pieces, headers, %{connection | body: body}}}
      {:error, reason} -> give_up(connection, reason)
    end
  end

  defp begin(_method, status, headers, connection) do
    close(connection)
    {:ok, {:head, status, headers}}
  end

  defp body(:head, _headers), do: {:ok, {:length, 0}}

  defp body(:get, headers) do
    case {values(headers, "transfer-encoding"), values(headers, "content-length")} do
      {[], []} ->
        {:ok, :to_the_end}

      {[], [length]} ->
        if length =~ ~r/\A\d{1,18}\z/, do: {:ok, {:length, String.to_integer(length)}}, else: {:error, :length}

      {[], _several} ->
        {:error, :length}

      {[encoding], _} ->
        if String.downcase(encoding) == "chunked", do: {:ok, :size}, else: {:error, :transfer_encoding}

      {_several, _} ->
        {:error, :transfer_encoding}
    end
  end

  defp values(headers, name), do: Enum.uniq(for {^name, value} <- headers, do: String.trim(value))

  @doc "The next piece of a body with what gives the one behind it, or its end, at which the connection is closed."
  @spec next(t()) :: {:ok, binary(), t()} | :done | {:error, term()}
  def next(%{body: body} = connection) when body == {:length, 0} or body == :done do
    close(connection)
    :done
  end

  def next(%{body: :size} = connection) do
    with {:ok, line, connection} <- line(connection) do
      case Regex.run(~r/\A\s*([0-9A-Fa-f]{1,15})\s*(;.*)?\r?\z/s, line) do
        [_, size | _] -> next(%{connection | body: chunk(size)})
        nil -> give_up(connection, :chunk)
      end
    end
  end

  def next(%{body: :line} = connection) do
    case line(connection) do
      {:ok, line, connection} when line in ["", "\r"] -> next(%{connection | body: :size})
      {:ok, _other, connection} -> give_up(connection, :chunk)
      {:error, reason} -> {:error, reason}
    end
  end

  def next(connection) do
    case bytes(connection) do
      {:ok, bytes, connection} -> {:ok, taken(bytes, connection), left(bytes, connection)}
      {:error, :closed} when connection.body == :to_the_end -> next(%{connection | body: :done})
      {:error, reason} -> give_up(connection, reason)
    end
  end

  defp chunk(size) do
    case String.to_integer(size, 16) do
      0 -> :done
      bytes -> {:chunk, bytes}
    end
  end

  defp taken(bytes, %{body: {_kind, length}}) when byte_size(bytes) > length, do: binary_part(bytes, 0, length)
  defp taken(bytes, _connection), do: bytes

  # What is behind the end of a length is nothing of it; behind a chunk is the next one.
  defp left(_bytes, %{body: :to_the_end} = connection), do: connection

  defp left(bytes, %{body: {kind, length}} = connection) do
    case {kind, length - byte_size(bytes)} do
      {kind, more} when more > 0 -> %{connection | body: {kind, more}}
      {:length, _none} -> %{connection | body: {:length, 0}}
      {:chunk, over} -> %{connection | body: :line, buffer: binary_part(bytes, length, -over)}
    end
  end

  defp bytes(%{buffer: ""} = connection) do
    with {:ok, bytes} <- receive_bytes(connection, now() + connection.timeout), do: {:ok, bytes, connection}
  end

  defp bytes(%{buffer: buffer} = connection), do: {:ok, buffer, %{connection | buffer: ""}}

  defp line(%{buffer: buffer} = connection) do
    case String.split(buffer, "\n", parts: 2) do
      [line, rest] ->
        {:ok, line, %{connection | buffer: rest}}

      [part] when byte_size(part) > @most_line ->
        give_up(connection, :chunk)

      [part] ->
        case receive_bytes(connection, now() + connection.timeout) do
          {:ok, bytes} -> line(%{connection | buffer: part <> bytes})
          {:error, reason} -> give_up(connection, reason)
        end
    end
  end

  defp receive_bytes(connection, deadline) do
    left = deadline - now()

    cond do
      connection.stop.() ->
        {:error, :stopped}

      left <= 0 ->
        {:error, :timeout}

      true ->
        with {:error, :timeout} <- Wire.receive(connection.wire, min(left, @look)),
             do: receive_bytes(connection, deadline)
    end
  end

  defp give_up(connection, reason) do
    close(connection)
    {:error, reason}
  end

  @doc "Ends an exchange, at any time."
  @spec close(t()) :: :ok
  def close(connection), do: Wire.close(connection.wire)

  defp now, do: System.monotonic_time(:millisecond)
end
