defmodule Mlx.LM.HTTP.Wire do
  @moduledoc false
  # Answers as bytes of HTTP 1.1: as a whole, or begun and then in chunks.

  alias Mlx.LM.HTTP.{Head, Reply}

  @reasons %{
    100 => "Continue",
    200 => "OK",
    204 => "No Content",
    400 => "Bad Request",
    401 => "Unauthorized",
    403 => "Forbidden",
    404 => "Not Found",
    405 => "Method Not Allowed",
    408 => "Request Timeout",
    413 => "Content Too Large",
    415 => "Unsupported Media Type",
    429 => "Too Many Requests",
    431 => "Request Header Fields Too Large",
    500 => "Internal Server Error",
    501 => "Not Implemented",
    503 => "Service Unavailable",
    504 => "Gateway Timeout",
    529 => "Overloaded"
  }

  @doc "An answer as a whole."
  @spec whole(Reply.t(), Head.t(), boolean()) :: iodata()
  def whole(reply, head, close?) do
    headers = [length_of(reply) | if(close?, do: [{"connection", "close"}], else: keep_alive(head))]
    [head(reply, headers), if(head.request.method == "HEAD", do: "", else: reply.body)]
  end

  @doc "An answer as a whole, after which the connection ends."
  @spec last(Reply.t()) :: iodata()
  def last(reply), do: [head(reply, [{"connection", "close"}, length_of(reply)]), reply.body]

  @doc "The head of an answer that comes in pieces."
  @spec beginning(Reply.t(), Head.t()) :: iodata()
  def beginning(reply, head) do
    coding = if chunked?(head), do: [{"transfer-encoding", "chunked"}], else: []
    head(reply, coding ++ if(head.close, do: [{"connection", "close"}], else: []))
  end

  @doc "A piece, which is not empty."
  @spec chunk(Head.t(), iodata()) :: iodata()
  def chunk(head, piece) do
    if chunked?(head), do: [Integer.to_string(IO.iodata_length(piece), 16), "\r\n", piece, "\r\n"], else: piece
  end

  @doc "What follows the last piece."
  @spec ending(Head.t()) :: iodata()
  def ending(head), do: if(chunked?(head), do: "0\r\n\r\n", else: "")

  # HTTP 1.0 knows no chunks: the end of the connection is the end of the answer.
  defp chunked?(%Head{version: version}), do: version == {1, 1}

  defp head(reply, headers) do
    reason = Map.get(@reasons, reply.status, "Unknown")
    date = Calendar.strftime(DateTime.utc_now(), "%a, %d %b %Y %H:%M:%S GMT")
    lines = for {name, value} <- [{"date", date} | reply.headers ++ headers], do: [name, ": ", value, "\r\n"]
    ["HTTP/1.1 ", Integer.to_string(reply.status), " ", reason, "\r\n", lines, "\r\n"]
  end

  defp length_of(reply), do: {"content-length", Integer.to_string(IO.iodata_length(reply.body))}
  defp keep_alive(%Head{version: {1, 0}}), do: [{"connection", "keep-alive"}]
  defp keep_alive(_head), do: []
end
