defmodule Mlx.Hub.Blob do
  @moduledoc false
  # One file of a repository: its bytes are read into a file beside its place, from where an earlier attempt has ended, and
  # take their place when their number and their checksum are right.

  alias Mlx.Hub.{Address, Body, Cache, Checksum, Connection, Lock, Problem, Request}

  # An attempt that has brought so much is followed by as many more as the first one.
  @progress 1024 * 1024

  @typedoc "A file of a commit: its path, the name of its blob, and its size where that is known."
  @type file :: %{path: String.t(), etag: String.t(), size: non_neg_integer() | nil}

  @typedoc "What is called with the number of bytes that have come, negative where they are thrown away."
  @type count :: (integer() -> term())

  @doc "How many bytes of a file are here."
  @spec present(map(), String.t(), file()) :: non_neg_integer()
  def present(settings, repository, file) do
    blob = Cache.blob(settings, repository, file.etag)
    if complete?(blob, file), do: file.size || 0, else: size(unfinished(blob))
  end

  @doc "Brings a file into the cache."
  @spec fetch(map(), String.t(), String.t(), file(), count(), Request.stop()) :: :ok | {:error, Problem.t()}
  def fetch(settings, repository, commit, file, count, stop) do
    blob = Cache.blob(settings, repository, file.etag)

    if complete?(blob, file) do
      :ok
    else
      lock = Path.join(Cache.locks(settings, repository), file.etag <> ".mlx.lock")
      File.mkdir_p(Path.dirname(blob))

      Lock.with(lock, fn -> if stop.(), do: throw(:stopped), else: :ok end, fn held ->
        # Another one may have brought it meanwhile.
        if complete?(blob, file) do
          count.(file.size || 0)
          :ok
        else
          download = %{
            settings: settings,
            address: Address.file(settings, repository, commit, file.path),
            subject: Request.subject(settings, repository, commit, file.path),
            file: file,
            blob: blob,
            path:
              if(held,
                do: unfinished(blob),
                else: "#{blob}.#{System.pid()}.#{System.unique_integer([:positive])}.incomplete"
              ),
            count: count,
            stop: stop
          }

          result = read(download, 1, 1)
          if not held, do: File.rm(download.path)
          result
        end
      end)
    end
  catch
    :stopped -> {:error, Problem.of_reason(:stopped, "")}
  end

  defp unfinished(blob), do: blob <> ".mlx.incomplete"

  # A blob of another size is one that something else has damaged.
  defp complete?(blob, file) do
    case File.stat(blob) do
      {:ok, %{type: :regular, size: size}} -> file.size in [nil, size]
      _none -> false
    end
  end

  defp size(path) do
    case File.stat(path) do
      {:ok, %{size: size}} -> size
      {:error, _none} -> 0
    end
  end

  # `number` is that of the attempts that brought little, `whole` that of the downloads whose checksum was wrong.
  defp read(download, number, whole) do
    here = here(download)

    case attempt(download, here) do
      :ok ->
        finish(download, number, whole)

      {:error, %Problem{again: true} = problem} ->
        number = if size(download.path) >= here + @progress, do: 1, else: number
        Request.again(problem, download.settings, number, &read(download, &1, whole))

      {:error, problem} ->
        {:error, problem}
    end
  end

  # What an earlier attempt has left. More than there should be cannot be right.
  defp here(%{path: path, file: file} = download) do
    here = size(path)
    if file.size != nil and here > file.size, do: discard(download, here), else: here
  end

  defp discard(download, here) do
    File.rm(download.path)
    download.count.(-here)
    0
  end

  defp attempt(%{file: %{size: size}}, here) when here == size and here > 0, do: :ok

  defp attempt(%{settings: settings, subject: subject, stop: stop} = download, here) do
    range = if here > 0, do: [{"range", "bytes=#{here}-"}], else: []

    case Request.get(download.address, range, subject, settings, stop) do
      {:ok, headers, connection, address} -> continue(download, here, headers, connection, address)
      {:error, %Problem{kind: :unsatisfied}} when here > 0 -> attempt(download, discard(download, here))
      {:error, problem} -> {:error, problem}
    end
  end

  # Whether the server goes on where the file ends, or begins anew.
  defp continue(download, here, headers, connection, address) do
    case range(headers) do
      {^here, total} when here > 0 and (total == download.file.size or total == nil or download.file.size == nil) ->
        write(download, here, total || download.file.size, headers, connection, address)

      nil ->
        if here > 0, do: discard(download, here)
        write(download, 0, download.file.size || length_of(headers), headers, connection, address)

      _another_part ->
        Connection.close(connection)
        again_from_start(download, here, "#{Address.shown(address)} sends another part than it was asked for")
    end
  end

  defp again_from_start(download, here, text) do
    if here > 0, do: discard(download, here)
    {:error, %{Problem.wrong(text) | again: true}}
  end

  # The first byte and the size of the whole, of a part.
  defp range(headers) do
    with text when text != nil <- Problem.header(headers, "content-range") do
      case Regex.run(~r/\A\s*bytes\s+(\d{1,18})-(\d{1,18})\/(\d{1,18}|\*)\s*\z/, text) do
        [_, first, _last, "*"] -> {String.to_integer(first), nil}
        [_, first, _last, total] -> {String.to_integer(first), String.to_integer(total)}
        nil -> :unreadable
      end
    end
  end

  defp length_of(headers) do
    with true <- Body.plain?(headers),
         text when text != nil <- Problem.header(headers, "content-length"),
         {length, ""} <- Integer.parse(text) do
      length
    else
      _unknown -> nil
    end
  end

  defp write(download, here, total, headers, connection, address) do
    case :file.open(download.path, [:raw, :binary, :append]) do
      {:ok, file} ->
        try do
          Body.reduce(headers, connection, here, &piece(download, file, total, &1, &2))
        after
          :file.close(file)
        end
        |> outcome(download, total, address)

      {:error, reason} ->
        Connection.close(connection)
        {:error, cannot_write(download, reason)}
    end
  end

  defp piece(download, file, total, bytes, here) do
    here = here + byte_size(bytes)

    cond do
      download.stop.() ->
        {:halt, :stopped}

      total != nil and here > total ->
        {:halt, :too_much}

      true ->
        case :file.write(file, bytes) do
          :ok ->
            download.count.(byte_size(bytes))
            {:cont, here}

          {:error, reason} ->
            {:halt, {:cannot_write, reason}}
        end
    end
  end

  defp outcome(result, download, total, address) do
    case result do
      {:ok, here} when total == nil or here == total ->
        :ok

      {:ok, here} ->
        {:error, %{Problem.wrong("#{Address.shown(address)} ends after #{here} of #{total} bytes") | again: true}}

      {:halted, :too_much} ->
        again_from_start(download, size(download.path), "#{Address.shown(address)} sends more than #{total} bytes")

      {:halted, :stopped} ->
        {:error, Problem.of_reason(:stopped, address)}

      {:halted, {:cannot_write, reason}} ->
        {:error, cannot_write(download, reason)}

      # What was unpacked until then need not be right.
      {:error, {:damaged, _kind} = reason} ->
        again_from_start(download, size(download.path), Problem.of_reason(reason, address).text)

      {:error, reason} ->
        {:error, Problem.of_reason(reason, address)}
    end
  end

  defp cannot_write(download, :enospc),
    do:
      Problem.wrong("the disk is full: #{download.path} cannot grow; free some of it, or give another folder as :cache")

  defp cannot_write(download, reason),
    do: Problem.wrong("cannot write #{download.path}: #{:file.format_error(reason)}")

  # A checksum that is wrong once may be that of the remains of an earlier attempt.
  defp finish(%{file: file, path: path} = download, number, whole) do
    checksum = file.etag |> Checksum.new(size(path)) |> Checksum.update_with_file(path)

    cond do
      Checksum.right?(checksum) ->
        place(download)

      whole < 2 ->
        discard(download, size(path))
        read(download, number, whole + 1)

      true ->
        discard(download, size(path))

        {:error,
         Problem.wrong("#{download.address} has not the checksum #{file.etag} that the Hub tells, twice in a row")}
    end
  end

  defp place(%{path: path, blob: blob} = download) do
    with :ok <- ensure_there(path), :ok <- sync(path), :ok <- File.rename(path, blob) do
      :ok
    else
      {:error, reason} -> {:error, cannot_write(download, reason)}
    end
  end

  # An empty file had no piece to be written.
  defp ensure_there(path), do: if(File.exists?(path), do: :ok, else: File.write(path, ""))

  defp sync(path) do
    with {:ok, file} <- :file.open(path, [:raw, :read, :write]) do
      :file.sync(file)
      :file.close(file)
    end
  end
end
