if Code.ensure_loaded?(Plug.Conn) do
  defmodule Mlx.LM.HTTP.Plug do
    @moduledoc """
    The routes of `Mlx.LM.HTTP` as a plug, for an application that has a web server of its own:

        forward "/llm", to: Mlx.LM.HTTP.Plug, init_opts: [models: [MyModel], keys: ["secret"]]

    It takes the options of `Mlx.LM.HTTP.start_link/1` that are not about connections. Paths are those behind the place where
    it is. It must stand before `Plug.Parsers`, because it reads the body itself.

    A client that goes is noticed when a piece is sent to it, or the comment of `:heartbeat`.
    """

    @behaviour Plug

    alias Mlx.LM.HTTP.{Failure, Job, Reply, Request, Router, Settings}
    alias Plug.Conn

    @impl true
    def init(options) do
      for {name, _value} <- options, name in Settings.of_connections() do
        raise ArgumentError, "Mlx.LM.HTTP.Plug: the option #{inspect(name)} is the matter of the web server"
      end

      Settings.new!(options, :"LM.HTTP.Plug")
    end

    @impl true
    def call(conn, settings) do
      request = request(conn)

      case Router.refuse(request, settings) do
        nil -> read(conn, request, settings)
        reply -> respond(conn, request, reply, settings)
      end
    end

    defp request(conn) do
      host = List.keyfind(conn.req_headers, "host", 0) || {"host", conn.host}

      %Request{
        method: conn.method,
        path: "/" <> Enum.join(conn.path_info, "/"),
        query: conn.query_string,
        headers: [host | List.keydelete(conn.req_headers, "host", 0)],
        loopback: Settings.loopback?(conn.remote_ip)
      }
    end

    defp read(conn, request, settings) do
      case Conn.read_body(conn, length: settings.max_body) do
        {:ok, body, conn} ->
          request = %{request | body: body}
          respond(conn, request, Router.call(request, settings), settings)

        {:more, _part, conn} ->
          fail(conn, request, :body_too_large, "the body has more than #{settings.max_body} bytes", settings)

        {:error, _reason} ->
          fail(conn, request, :slow, "the body of the request did not come in time", settings)
      end
    end

    defp fail(conn, request, kind, message, settings) do
      respond(conn, request, Router.failed(request, %Failure{kind: kind, message: message}, settings), settings)
    end

    defp respond(conn, _request, %Reply{job: nil} = reply, _settings) do
      conn |> put_headers(reply) |> Conn.send_resp(reply.status, reply.body)
    end

    defp respond(conn, request, reply, settings), do: wait(conn, request, reply, settings, false)

    # `begun` says whether the head of the answer is sent.
    defp wait(conn, request, reply, settings, begun) do
      receive do
        {Mlx.LM.Server, _ref, _event} = message -> take(conn, request, reply, settings, begun, message)
        {:DOWN, _ref, :process, _pid, _reason} = message -> take(conn, request, reply, settings, begun, message)
      after
        settings.heartbeat ->
          if Reply.stream?(reply),
            do: piece(": \n\n", [], conn, request, reply, settings, begun),
            else: wait(conn, request, reply, settings, begun)
      end
    end

    defp take(conn, request, reply, settings, begun, message) do
      case Job.message(reply.job, message) do
        :unknown -> wait(conn, request, reply, settings, begun)
        {events, job} -> step(events, conn, request, %{reply | job: job}, settings, begun)
      end
    end

    defp step([], conn, request, reply, settings, begun), do: wait(conn, request, reply, settings, begun)

    defp step([event | events], conn, request, reply, settings, begun) do
      case Router.step(reply, event, begun, request, settings) do
        {:more, pieces, reply} ->
          piece(pieces, events, conn, request, reply, settings, begun)

        {:end, pieces} ->
          Job.cancel(reply.job)
          {_sent, conn} = pieces |> IO.iodata_to_binary() |> sent(begin(conn, reply, begun))
          conn

        {:reply, instead} ->
          Job.cancel(reply.job)
          respond(conn, request, instead, settings)
      end
    end

    defp piece(pieces, events, conn, request, reply, settings, begun) do
      if IO.iodata_length(pieces) == 0 do
        step(events, conn, request, reply, settings, begun)
      else
        case sent(pieces, begin(conn, reply, begun)) do
          {:ok, conn} ->
            step(events, conn, request, reply, settings, true)

          {:closed, conn} ->
            Job.cancel(reply.job)
            conn
        end
      end
    end

    defp sent("", conn), do: {:ok, conn}

    defp sent(pieces, conn) do
      case Conn.chunk(conn, pieces) do
        {:ok, conn} -> {:ok, conn}
        {:error, _reason} -> {:closed, conn}
      end
    end

    defp begin(conn, _reply, true), do: conn
    defp begin(conn, reply, false), do: conn |> put_headers(reply) |> Conn.send_chunked(reply.status)

    defp put_headers(conn, reply) do
      Enum.reduce(reply.headers, conn, fn {name, value}, conn -> Conn.put_resp_header(conn, name, value) end)
    end
  end
end
