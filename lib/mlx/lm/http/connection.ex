defmodule Mlx.LM.HTTP.Connection do
  @moduledoc false
  # One connection: requests one after the other, each answered before the next is read. While an answer is under way the
  # socket is watched, so that a client that goes cancels its generations.
  #
  # OTP's own server, `:httpd` of `:inets`, would be shorter. Tried with hostile clients, it does not carry this: it answers
  # OPTIONS with 501, so that no page of another origin can ask (CORS); `mod_esi:deliver` says `ok` for a client that has
  # long gone, so that its generation goes on to the end; half a head, half a body and garbage are waited for without an end;
  # and its own errors are pages of HTML, before any code of ours is asked.

  require Logger

  alias Mlx.LM.HTTP.{Body, Failure, Head, Job, Reply, Router, Settings, Wire}

  # What a client may send of its next requests while it waits for an answer.
  @most_ahead 65_536

  # How long, and how much, is read of a client that is still sending after its answer.
  @linger 2000
  @most_linger 64_000_000

  @enforce_keys [:socket, :settings]
  defstruct @enforce_keys ++ [buffer: "", loopback: false, draining: false]

  @doc "Serves a connection until its end. The process has got the socket by a message."
  @spec serve(:gen_tcp.socket(), Settings.t()) :: :ok
  def serve(socket, settings) do
    receive do
      {:owner, ^socket} -> :ok
    after
      5000 -> exit(:normal)
    end

    loopback =
      case :inet.sockname(socket) do
        {:ok, {address, _port}} -> Settings.loopback?(address)
        _closed -> false
      end

    idle(%__MODULE__{socket: socket, settings: settings, loopback: loopback})
  end

  @doc "Says that there are too many connections, and closes this one."
  @spec refuse(:gen_tcp.socket()) :: :ok
  def refuse(socket) do
    reply = Failure.reply(%Failure{kind: :busy, message: "there are too many connections"}, :openai)
    :gen_tcp.send(socket, Wire.last(reply))
    :gen_tcp.close(socket)
  end

  # ---- between requests

  defp idle(%{draining: true} = connection), do: close(connection)

  defp idle(%{buffer: buffer} = connection) when buffer != "",
    do: receive_head(connection, until(connection, :header_timeout))

  defp idle(connection) do
    :inet.setopts(connection.socket, active: :once)
    wait_idle(connection, until(connection, :idle_timeout))
  end

  defp wait_idle(%{socket: socket} = connection, until) do
    receive do
      {:tcp, ^socket, bytes} -> receive_head(%{connection | buffer: bytes}, until(connection, :header_timeout))
      {:tcp_closed, ^socket} -> close(connection)
      {:tcp_error, ^socket, _reason} -> close(connection)
      :drain -> close(connection)
      _late -> wait_idle(connection, until)
    after
      left(until) -> close(connection)
    end
  end

  defp until(connection, timeout), do: System.monotonic_time(:millisecond) + Map.fetch!(connection.settings, timeout)
  defp left(until), do: max(until - System.monotonic_time(:millisecond), 0)

  # ---- a request

  defp receive_head(connection, until) do
    # Empty lines in front of a request are passed over.
    connection = %{connection | buffer: String.trim_leading(connection.buffer, "\r\n")}

    case :binary.match(connection.buffer, "\r\n\r\n") do
      {at, 4} when at + 4 <= connection.settings.max_header ->
        size = at + 4
        <<head::binary-size(size), rest::binary>> = connection.buffer
        parse(%{connection | buffer: rest}, head)

      _none when byte_size(connection.buffer) > connection.settings.max_header ->
        failed(
          connection,
          :header_too_large,
          "the head of the request has more than #{connection.settings.max_header} bytes"
        )

      _none ->
        case Body.receive_some(connection.socket, until) do
          {:ok, bytes} -> receive_head(%{connection | buffer: connection.buffer <> bytes}, until)
          {:error, :slow} -> failed(connection, :slow, "the head of the request did not come in time")
          {:error, :closed} -> close(connection)
        end
    end
  end

  defp parse(connection, bytes) do
    case Head.parse(bytes) do
      {:ok, head} -> before_body(connection, %{head | request: %{head.request | loopback: connection.loopback}})
      {:error, kind, message} -> failed(connection, kind, message)
    end
  end

  # What is refused without its body is refused before it is read.
  defp before_body(connection, head) do
    case Router.refuse(head.request, connection.settings) do
      nil -> receive_body(connection, head)
      reply when head.body == {:length, 0} -> send_reply(connection, head, reply)
      reply -> send_last(connection, reply)
    end
  end

  defp receive_body(connection, head) do
    %{max_body: limit} = connection.settings

    if head.expect and connection.buffer == "" and expected?(head.body, limit),
      do: :gen_tcp.send(connection.socket, "HTTP/1.1 100 Continue\r\n\r\n")

    case Body.read(connection.socket, connection.buffer, head.body, limit, until(connection, :body_timeout)) do
      {:ok, body, rest} -> answer(%{connection | buffer: rest}, %{head | request: %{head.request | body: body}})
      {:error, :closed} -> close(connection)
      {:error, :slow} -> failed(connection, head, :slow, "the body of the request did not come in time")
      {:error, :too_large} -> failed(connection, head, :body_too_large, "the body has more than #{limit} bytes")
      {:error, :invalid} -> failed(connection, head, :invalid, "the chunks of the body are none of HTTP")
    end
  end

  defp expected?({:length, size}, limit), do: size <= limit
  defp expected?(:chunked, _limit), do: true

  defp answer(connection, head), do: send_reply(connection, head, Router.call(head.request, connection.settings))

  # ---- an answer

  defp send_reply(connection, head, %Reply{job: nil} = reply) do
    connection = drained(connection)
    close? = head.close or connection.draining

    case :gen_tcp.send(connection.socket, Wire.whole(reply, head, close?)) do
      :ok when not close? -> idle(connection)
      :ok -> close_gently(connection)
      {:error, _reason} -> close(connection)
    end
  end

  defp send_reply(connection, head, reply) do
    :inet.setopts(connection.socket, active: :once)
    wait(connection, head, reply, false)
  end

  # `begun` says whether the head of the answer is sent.
  defp wait(%{socket: socket} = connection, head, %Reply{job: job} = reply, begun) do
    receive do
      {:tcp_closed, ^socket} ->
        gone(connection, job)

      {:tcp_error, ^socket, _reason} ->
        gone(connection, job)

      {:tcp, ^socket, bytes} ->
        buffer = connection.buffer <> bytes

        if byte_size(buffer) > @most_ahead do
          gone(connection, job)
        else
          :inet.setopts(socket, active: :once)
          wait(%{connection | buffer: buffer}, head, reply, begun)
        end

      :drain ->
        wait(%{connection | draining: true}, head, reply, begun)

      :stop ->
        step([%Failure{kind: :shutdown, message: "the server stops"}], connection, head, reply, begun)

      message ->
        case Job.message(job, message) do
          :unknown -> wait(connection, head, reply, begun)
          {events, job} -> step(events, connection, head, %{reply | job: job}, begun)
        end
    after
      connection.settings.heartbeat -> beat(connection, head, reply, begun)
    end
  end

  # A comment, which clients pass over, so that nobody between takes the connection for dead.
  defp beat(connection, head, reply, begun) do
    if Reply.stream?(reply),
      do: piece(": \n\n", [], connection, head, reply, begun),
      else: wait(connection, head, reply, begun)
  end

  defp step([], connection, head, reply, begun), do: wait(connection, head, reply, begun)

  defp step([event | events], connection, head, reply, begun) do
    case Router.step(reply, event, begun, head.request, connection.settings) do
      {:more, pieces, reply} ->
        piece(pieces, events, connection, head, reply, begun)

      {:end, pieces} ->
        Job.cancel(reply.job)
        last(pieces, connection, head, reply, begun)

      {:reply, instead} ->
        Job.cancel(reply.job)
        connection |> passive() |> send_reply(head, instead)
    end
  end

  defp piece(pieces, events, connection, head, reply, begun) do
    if IO.iodata_length(pieces) == 0 do
      step(events, connection, head, reply, begun)
    else
      case :gen_tcp.send(connection.socket, [beginning(head, reply, begun), Wire.chunk(head, pieces)]) do
        :ok -> step(events, connection, head, reply, true)
        {:error, _reason} -> gone(connection, reply.job)
      end
    end
  end

  defp last(pieces, connection, head, reply, begun) do
    pieces = if IO.iodata_length(pieces) == 0, do: [], else: Wire.chunk(head, pieces)

    with :ok <- :gen_tcp.send(connection.socket, [beginning(head, reply, begun), pieces, Wire.ending(head)]),
         %{draining: false} = connection when not head.close <- passive(connection) do
      idle(connection)
    else
      _closed -> close(connection)
    end
  end

  # The socket as it was before `wait`, with what has come meanwhile.
  defp passive(%{socket: socket} = connection) do
    :inet.setopts(socket, active: false)

    receive do
      {:tcp, ^socket, bytes} -> %{connection | buffer: connection.buffer <> bytes}
      {:tcp_closed, ^socket} -> %{connection | draining: true}
      {:tcp_error, ^socket, _reason} -> %{connection | draining: true}
    after
      0 -> connection
    end
  end

  defp beginning(_head, _reply, true), do: []
  defp beginning(head, reply, false), do: Wire.beginning(reply, head)

  # ---- ends

  defp failed(connection, kind, message), do: failed(connection, %Head{}, kind, message)

  defp failed(connection, head, kind, message) do
    send_last(connection, Router.failed(head.request, %Failure{kind: kind, message: message}, connection.settings))
  end

  # What follows of the request is not read, so the connection ends.
  defp send_last(connection, reply) do
    :gen_tcp.send(connection.socket, Wire.last(reply))

    close_gently(connection)
  end

  # A client that is still sending would lose the answer to a connection that is cut.
  defp close_gently(connection) do
    :gen_tcp.shutdown(connection.socket, :write)
    linger(connection, System.monotonic_time(:millisecond) + @linger, @most_linger)
  end

  defp linger(connection, until, left) do
    case Body.receive_some(connection.socket, until) do
      {:ok, bytes} when byte_size(bytes) < left -> linger(connection, until, left - byte_size(bytes))
      _end -> close(connection)
    end
  end

  defp gone(connection, job) do
    Job.cancel(job)
    close(connection)
  end

  defp close(connection) do
    :gen_tcp.close(connection.socket)
    :ok
  end

  defp drained(connection) do
    receive do
      :drain -> %{connection | draining: true}
    after
      0 -> connection
    end
  end
end
