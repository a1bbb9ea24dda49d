defmodule Mlx.Package.Download do
  @moduledoc false
  # Brings an archive into the cache folder. A file gets its name there when its checksum was right, so that all projects and
  # processes of a user can share the folder. What a broken connection left is gone on with, also by the next compilation.

  alias Mlx.Hub.{Address, Connection, Lock, Problem}
  alias Mlx.Package.Archive

  @compile {:no_warn_undefined, [Address, Connection, Lock, Problem, Archive]}

  @most_redirects 5

  @defaults %{timeout: 30_000, connect_timeout: 15_000, attempts: 5, backoff: 1_000}

  @doc """
  The archive in the cache folder, downloaded if it is not there. `wanted` are the bytes and the SHA-256 that the package
  states. The error is a sentence. To be called while the modules of `Mlx.Package.Client` are there; `cached/3` needs none.
  """
  @spec fetch(String.t(), {pos_integer(), String.t()}, String.t(), Path.t(), map(), (String.t() -> any())) ::
          {:ok, Path.t()} | {:error, String.t()}
  def fetch(name, wanted, address, folder, settings \\ %{}, say \\ fn _text -> :ok end) do
    settings = Map.merge(@defaults, settings)
    file = Path.join(folder, name)

    with :ok <- folder(folder) do
      Lock.with(file <> ".lock", fn -> :ok end, fn _held ->
        with :none <- cached(name, wanted, folder) do
          say.("mlx: downloading #{name} (#{megabytes(elem(wanted, 0))})")
          try_to(settings.attempts, settings, fn -> attempt(file, wanted, "#{address}/#{name}", settings) end)
        end
      end)
    end
  end

  @doc "The archive in the cache folder, if it is there and whole."
  @spec cached(String.t(), {pos_integer(), String.t()}, Path.t()) :: {:ok, Path.t()} | :none
  def cached(name, wanted, folder) do
    file = Path.join(folder, name)
    if same?(file, wanted), do: {:ok, file}, else: :none
  end

  @doc "Whether a file has these bytes and this SHA-256."
  @spec same?(Path.t(), {pos_integer(), String.t()}) :: boolean()
  def same?(file, {bytes, sha256}) do
    match?({:ok, %{type: :regular, size: ^bytes}}, File.stat(file)) and Archive.sha256(file) == sha256
  end

  defp folder(folder) do
    case File.mkdir_p(folder) do
      :ok -> :ok
      {:error, reason} -> {:error, unwritable(folder, reason)}
    end
  end

  defp unwritable(folder, reason),
    do:
      "cannot write into the cache folder #{folder} (#{:file.format_error(reason)}); let MLX_CACHE name another folder"

  defp try_to(attempts, settings, attempt) do
    case attempt.() do
      {:again, _problem} when attempts > 1 ->
        Process.sleep(settings.backoff)
        try_to(attempts - 1, %{settings | backoff: settings.backoff * 2}, attempt)

      {:again, sentence} ->
        {:error, sentence <> "; try again, or #{other_ways()}"}

      result ->
        result
    end
  rescue
    # What the variables of the environment for proxies and certificates say is wrong. The module of the second does not exist
    # when this one is compiled.
    error ->
      if error.__struct__ in [ArgumentError, Mlx.Error],
        do: {:error, Exception.message(error)},
        else: reraise(error, __STACKTRACE__)
  end

  defp other_ways,
    do: "download the file otherwise and let MLX_NIF_ARCHIVE name it, or set MLX_BUILD=true to build from source"

  # What is there of the file is asked for no more.
  defp attempt(file, {bytes, _sha256} = wanted, address, settings) do
    part = file <> ".part"
    there = size(part)
    if there >= bytes, do: File.rm(part)
    from = if there >= bytes, do: 0, else: there

    with {:ok, received} <- request(address, address, from, part, bytes, settings, 0) do
      finish(file, part, wanted, address, received)
    end
  end

  defp size(file) do
    case File.stat(file) do
      {:ok, %{size: size}} -> size
      {:error, _none} -> 0
    end
  end

  defp request(_asked, address, _from, _part, _bytes, _settings, @most_redirects),
    do: {:error, "#{Address.shown(address)} redirects too often"}

  defp request(asked, address, from, part, bytes, settings, redirects) do
    range = if from > 0, do: [{"range", "bytes=#{from}-"}], else: []

    case Connection.open(:get, address, range, settings) do
      {:ok, {:pieces, headers, connection}} ->
        pieces(address, headers, connection, from, part, bytes)

      {:ok, {:head, status, headers}} when status in [301, 302, 303, 307, 308] ->
        with {:ok, target} <- redirected(address, Problem.header(headers, "location")),
             do: request(asked, target, from, part, bytes, settings, redirects + 1)

      {:ok, {:head, 416, _headers}} ->
        File.rm(part)
        {:again, "#{Address.shown(address)} does not go on with what was downloaded"}

      {:ok, {:head, status, _headers}} when status in [403, 404, 410] ->
        {:error, "there is no archive at #{asked} (status #{status}); #{other_ways()}"}

      {:ok, {:head, status, headers}} ->
        problem(
          Problem.of_status(status, headers, address, %{
            path: nil,
            endpoint: "",
            repository: "",
            revision: "",
            token: false
          })
        )

      {:error, reason} ->
        problem(Problem.of_reason(reason, address))
    end
  end

  defp problem(%{again: true, text: text}), do: {:again, text}
  defp problem(%{text: text}), do: {:error, "the precompiled library was not downloaded: #{text}; #{other_ways()}"}

  defp redirected(address, nil), do: {:error, "#{Address.shown(address)} redirects to nowhere"}

  defp redirected(address, location) do
    with {:error, why} <- Address.redirected(address, location),
         do: {:error, "#{Address.shown(address)} redirects #{why}, which is not followed"}
  end

  # Without a range in the answer, which many servers leave out, it is the whole file.
  defp pieces(address, headers, connection, from, part, bytes) do
    from = if begins_at(Problem.header(headers, "content-range")) == from, do: from, else: 0

    case File.open(part, [:read, :write, :raw, :binary]) do
      {:ok, out} ->
        {:ok, _position} = :file.position(out, from)
        :ok = :file.truncate(out)
        result = receive_pieces(connection, out, from, bytes, address)
        :file.close(out)
        result

      {:error, reason} ->
        Connection.close(connection)
        {:error, unwritable(Path.dirname(part), reason)}
    end
  end

  defp begins_at(nil), do: nil

  defp begins_at(range) do
    case Regex.run(~r/\Abytes (\d{1,15})-/, range) do
      [_all, from] -> String.to_integer(from)
      nil -> nil
    end
  end

  defp receive_pieces(connection, out, received, bytes, address) do
    case Connection.next(connection) do
      {:ok, piece, connection} when received + byte_size(piece) <= bytes ->
        case :file.write(out, piece) do
          :ok ->
            receive_pieces(connection, out, received + byte_size(piece), bytes, address)

          {:error, reason} ->
            Connection.close(connection)
            {:error, "the precompiled library could not be written: #{:file.format_error(reason)}"}
        end

      {:ok, _piece, connection} ->
        Connection.close(connection)
        {:ok, :too_much}

      :done when received < bytes ->
        {:again, "#{Address.shown(address)} sent #{received} bytes of #{bytes}"}

      :done ->
        {:ok, received}

      {:error, reason} ->
        problem(Problem.of_reason(reason, address))
    end
  end

  # A part of an older day may have been of another file, so that it is begun anew once.
  defp finish(file, part, {bytes, sha256} = wanted, address, received) do
    found = if received == :too_much, do: "more than #{bytes} bytes", else: "the SHA-256 #{Archive.sha256(part)}"

    cond do
      received != :too_much and same?(part, wanted) ->
        case File.rename(part, file) do
          :ok -> {:ok, file}
          {:error, reason} -> {:error, unwritable(Path.dirname(file), reason)}
        end

      File.rm(part) == :ok ->
        {:error,
         "what #{address} sends has #{found}, and this version of the package trusts #{bytes} bytes with the SHA-256 #{sha256} " <>
           "only: the file was changed after the release, or on its way; it was not used"}
    end
  end

  @doc "Bytes in MB, for people."
  @spec megabytes(non_neg_integer()) :: String.t()
  def megabytes(bytes), do: "#{Float.round(bytes / 1_000_000, 1)} MB"
end
