defmodule Mlx.ArchiveServer do
  @moduledoc """
  A server of archives on the loopback, which answers as it is told to.

      server = Mlx.ArchiveServer.start(fn request -> {:file, bytes} end)

  A request has `:path`, `:range` (the first byte that is asked for) and `:number`. The answers:

    * `{:file, bytes}` - the file, or what is left of it from the range on
    * `{:whole, bytes}` - the file, whatever the range is
    * `{:truncated, bytes, count}` - what is asked for, but the connection ends after some bytes
    * `{:status, status, headers}` - an answer without a body
    * `{:raw, text}` - anything
    * `:hang` - nothing, and the connection stays open
  """

  defstruct [:url, :port, :log]

  @doc "Starts a server, which ends with the calling process."
  def start(answer) do
    {:ok, listener} = :gen_tcp.listen(0, [:binary, active: false, packet: :raw, reuseaddr: true, ip: {127, 0, 0, 1}])
    {:ok, port} = :inet.port(listener)
    {:ok, log} = Agent.start_link(fn -> [] end)
    pid = spawn_link(fn -> loop(listener, answer, log) end)
    :ok = :gen_tcp.controlling_process(listener, pid)
    %__MODULE__{url: "http://127.0.0.1:#{port}", port: port, log: log}
  end

  @doc "The requests until now, the first one first."
  def requests(server), do: server.log |> Agent.get(& &1) |> Enum.reverse()

  defp loop(listener, answer, log) do
    {:ok, socket} = :gen_tcp.accept(listener)
    pid = spawn(fn -> receive(do: (:go -> serve(socket, answer, log))) end)
    :ok = :gen_tcp.controlling_process(socket, pid)
    send(pid, :go)
    loop(listener, answer, log)
  end

  defp serve(socket, answer, log) do
    with {:ok, head} <- head(socket, "") do
      [line | _] = String.split(head, "\r\n")
      [_method, path, _version] = String.split(line, " ")

      range =
        with [_all, from] <- Regex.run(~r/range: bytes=(\d+)-/i, head), do: String.to_integer(from), else: (nil -> 0)

      request =
        Agent.get_and_update(log, fn requests ->
          request = %{path: path, range: range, number: length(requests) + 1, head: head}
          {request, [request | requests]}
        end)

      respond(socket, answer.(request), range)
    end

    :gen_tcp.close(socket)
  end

  defp head(socket, text) do
    if String.ends_with?(text, "\r\n\r\n") do
      {:ok, text}
    else
      with {:ok, more} <- :gen_tcp.recv(socket, 0, 10_000), do: head(socket, text <> more)
    end
  end

  defp respond(socket, {:file, bytes}, range), do: part(socket, bytes, range, byte_size(bytes))
  defp respond(socket, {:truncated, bytes, count}, range), do: part(socket, bytes, range, count)
  defp respond(socket, {:raw, text}, _range), do: :gen_tcp.send(socket, text)
  defp respond(_socket, :hang, _range), do: Process.sleep(:infinity)

  defp respond(socket, {:whole, bytes}, _range),
    do: :gen_tcp.send(socket, ["HTTP/1.1 200 OK\r\ncontent-length: #{byte_size(bytes)}\r\n\r\n", bytes])

  defp respond(socket, {:status, status, headers}, _range) do
    lines = for {name, value} <- headers, do: "#{name}: #{value}\r\n"
    :gen_tcp.send(socket, ["HTTP/1.1 #{status} Status\r\n", lines, "content-length: 0\r\n\r\n"])
  end

  defp part(socket, bytes, from, count) do
    left = binary_part(bytes, from, byte_size(bytes) - from)
    sent = binary_part(left, 0, min(count, byte_size(left)))

    head =
      if from > 0,
        do: "206 Partial Content\r\ncontent-range: bytes #{from}-#{byte_size(bytes) - 1}/#{byte_size(bytes)}",
        else: "200 OK"

    :gen_tcp.send(socket, ["HTTP/1.1 #{head}\r\ncontent-length: #{byte_size(left)}\r\n\r\n", sent])
  end
end
