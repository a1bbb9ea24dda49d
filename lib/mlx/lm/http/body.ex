defmodule Mlx.LM.HTTP.Body do
  @moduledoc false
  # Reads the body of a request: never more than the limit, and not longer than the time. `rest` are bytes that came with the
  # head, and what comes back with the body are those of the next request.

  @type problem :: :closed | :slow | :too_large | :invalid

  # A line with the size of a chunk, and the lines behind the last chunk.
  @most_line 1024
  @most_trailer 8192

  @doc "The body and the bytes behind it. `until` is a time in ms of the monotonic clock."
  @spec read(:gen_tcp.socket(), binary(), Mlx.LM.HTTP.Head.body(), pos_integer(), integer()) ::
          {:ok, binary(), binary()} | {:error, problem()}
  def read(_socket, _rest, {:length, size}, limit, _until) when size > limit, do: {:error, :too_large}

  def read(socket, rest, {:length, size}, _limit, until) do
    with {:ok, pieces, rest} <- take(socket, rest, size, [], until), do: {:ok, IO.iodata_to_binary(pieces), rest}
  end

  def read(socket, rest, :chunked, limit, until), do: chunks(socket, rest, limit, [], until)

  defp take(_socket, rest, size, pieces, _until) when byte_size(rest) >= size do
    <<piece::binary-size(size), rest::binary>> = rest
    {:ok, Enum.reverse([piece | pieces]), rest}
  end

  defp take(socket, rest, size, pieces, until) do
    with {:ok, bytes} <- receive_some(socket, until),
         do: take(socket, bytes, size - byte_size(rest), [rest | pieces], until)
  end

  defp chunks(socket, rest, left, pieces, until) do
    with {:ok, line, rest} <- line(socket, rest, @most_line, until),
         {:ok, size} <- size(line) do
      cond do
        size == 0 ->
          with {:ok, rest} <- trailer(socket, rest, @most_trailer, until),
               do: {:ok, pieces |> Enum.reverse() |> IO.iodata_to_binary(), rest}

        size > left ->
          {:error, :too_large}

        true ->
          with {:ok, piece, rest} <- take(socket, rest, size, [], until),
               {:ok, "", rest} <- line(socket, rest, 2, until) do
            chunks(socket, rest, left - size, [piece | pieces], until)
          else
            {:ok, _more, _rest} -> {:error, :invalid}
            error -> error
          end
      end
    end
  end

  defp size(line) do
    case Regex.run(~r/\A([0-9a-fA-F]{1,12})[ \t]*(?:;.*)?\z/, line) do
      [_all, hex] -> {:ok, String.to_integer(hex, 16)}
      nil -> {:error, :invalid}
    end
  end

  defp trailer(socket, rest, left, until) do
    case line(socket, rest, left, until) do
      {:ok, "", rest} -> {:ok, rest}
      {:ok, line, rest} -> trailer(socket, rest, max(left - byte_size(line) - 2, 0), until)
      error -> error
    end
  end

  defp line(socket, rest, most, until) do
    case :binary.split(rest, "\r\n") do
      [line, rest] when byte_size(line) <= most ->
        {:ok, line, rest}

      [part] when byte_size(part) <= most + 1 ->
        with {:ok, bytes} <- receive_some(socket, until), do: line(socket, part <> bytes, most, until)

      _longer ->
        {:error, :invalid}
    end
  end

  @doc "Bytes as they come, until the time."
  @spec receive_some(:gen_tcp.socket(), integer()) :: {:ok, binary()} | {:error, :closed | :slow}
  def receive_some(socket, until) do
    case :gen_tcp.recv(socket, 0, max(until - System.monotonic_time(:millisecond), 0)) do
      {:ok, bytes} -> {:ok, bytes}
      {:error, :timeout} -> {:error, :slow}
      {:error, _reason} -> {:error, :closed}
    end
  end
end
