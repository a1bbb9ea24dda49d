defmodule Mlx.Hub.Body do
  @moduledoc false
  # The body of an answer, piece by piece, unpacked where a server packs what it was asked to send as it is.

  alias Mlx.Hub.{Connection, Problem}

  # gzip or zlib, told apart by the head.
  @packed 47

  @doc "Whether the length of the body is that of what it holds."
  @spec plain?(Connection.headers()) :: boolean()
  def plain?(headers), do: encoding(headers) in [nil, "", "identity"]

  defp encoding(headers) do
    with text when text != nil <- Problem.header(headers, "content-encoding"),
         do: text |> String.trim() |> String.downcase()
  end

  @doc "Reduces the pieces by a function that returns `{:cont, acc}` or `{:halt, result}`."
  @spec reduce(Connection.headers(), Connection.t(), acc, (binary(), acc -> {:cont, acc} | {:halt, term()})) ::
          {:ok, acc} | {:halted, term()} | {:error, term()}
        when acc: term()
  def reduce(headers, connection, acc, fun) do
    cond do
      plain?(headers) -> walk(connection, acc, fun)
      encoding(headers) in ["gzip", "x-gzip", "deflate"] -> unpack(connection, acc, fun)
      true -> give_up(connection, {:error, {:encoding, encoding(headers)}})
    end
  end

  defp walk(connection, acc, fun) do
    case Connection.next(connection) do
      {:ok, piece, connection} ->
        case fun.(piece, acc) do
          {:cont, acc} -> walk(connection, acc, fun)
          {:halt, result} -> give_up(connection, {:halted, result})
        end

      :done ->
        {:ok, acc}

      {:error, reason} ->
        {:error, reason}
    end
  end

  defp unpack(connection, acc, fun) do
    stream = :zlib.open()
    :zlib.inflateInit(stream, @packed)

    try do
      walk(connection, acc, &slices(:zlib.safeInflate(stream, &1), stream, &2, fun))
    rescue
      _damaged in ErlangError -> give_up(connection, {:error, {:damaged, :gzip}})
    after
      :zlib.close(stream)
    end
  end

  defp slices({status, slice}, stream, acc, fun) do
    case {fun.(IO.iodata_to_binary(slice), acc), status} do
      {{:cont, acc}, :continue} -> slices(:zlib.safeInflate(stream, []), stream, acc, fun)
      {result, _status} -> result
    end
  end

  defp give_up(connection, result) do
    Connection.close(connection)
    result
  end
end
