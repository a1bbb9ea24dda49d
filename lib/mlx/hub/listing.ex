defmodule Mlx.Hub.Listing do
  @moduledoc false
  # Which commit a revision is, and which files a commit has. What a commit has never changes, so that its list is kept in the
  # cache, in the form of Python's library. Python takes such a list for a promise that its files are here, so that it has
  # another name where only some of them are wanted.

  alias Mlx.Hub.{Address, Blob, Cache, Connection, Name, Patterns, Problem, Request}

  @format 1
  @most_pages 1000

  @doc "The commit of the settings' revision."
  @spec commit(map(), String.t()) :: {:ok, String.t()} | {:error, Problem.t()}
  def commit(%{revision: revision} = settings, repository) do
    if Name.commit?(revision), do: {:ok, revision}, else: ask_commit(settings, repository)
  end

  defp ask_commit(%{revision: revision} = settings, repository) do
    address = Address.revision(settings, repository, revision)

    case Request.json(address, Request.subject(settings, repository, revision), settings) do
      {:ok, %{"sha" => commit}, _headers} ->
        if Name.commit?(commit), do: {:ok, commit}, else: {:error, no_hub(address)}

      {:ok, _other, _headers} ->
        {:error, no_hub(address)}

      {:error, problem} ->
        {:error, problem}
    end
  end

  defp no_hub(address) do
    Problem.wrong(
      "#{Address.shown(address)} does not answer as a hub of models does; look at HF_ENDPOINT and the proxy"
    )
  end

  @doc "The files of a commit, from the cache or from the Hub."
  @spec files(map(), String.t(), String.t()) :: {:ok, [Blob.file()]} | {:error, Problem.t()}
  def files(settings, repository, commit) do
    case cached(settings, repository, commit) do
      nil -> ask_files(settings, repository, commit)
      files -> {:ok, files}
    end
  end

  @doc "The files of a commit as the cache has them, or nil."
  @spec cached(map(), String.t(), String.t()) :: [Blob.file()] | nil
  def cached(settings, repository, commit) do
    {all, some} = Cache.trees(settings, repository, commit)
    read(all) || read(some)
  end

  defp read(path) do
    with {:ok, text} <- File.read(path),
         {:ok, %{"format_version" => @format, "files" => files}} when is_map(files) <- JSON.decode(text),
         entries = for({path, fields} <- files, do: cached_entry(path, fields)),
         true <- :damaged not in entries do
      Enum.sort_by(entries, & &1.path)
    else
      _none -> nil
    end
  end

  defp cached_entry(path, %{"size" => size, "blob_id" => id} = fields),
    do: entry(path, fields["lfs_sha256"] || id, fields["lfs_size"] || size)

  defp cached_entry(_path, _fields), do: :damaged

  defp entry(path, etag, size) do
    if Name.path?(path) and Name.etag?(etag) and is_integer(size) and size >= 0,
      do: %{path: path, etag: etag, size: size},
      else: :damaged
  end

  defp ask_files(settings, repository, commit) do
    subject = Request.subject(settings, repository, commit)

    with {:ok, items} <- pages(Address.tree(settings, repository, commit), subject, settings, [], @most_pages) do
      listed = for %{"type" => "file"} = item <- items, do: {item, listed_entry(item)}

      case Enum.find(listed, fn {_item, entry} -> entry == :damaged end) do
        nil ->
          keep(settings, repository, commit, items)
          {:ok, listed |> Enum.map(&elem(&1, 1)) |> Enum.uniq_by(& &1.path) |> Enum.sort_by(& &1.path)}

        {item, :damaged} ->
          {:error, Problem.wrong("the Hub lists a file of #{repository} that cannot be placed: #{shown(item)}")}
      end
    end
  end

  defp listed_entry(%{"path" => path, "lfs" => %{"oid" => id, "size" => size}}), do: entry(path, id, size)
  defp listed_entry(%{"path" => path, "oid" => id, "size" => size}), do: entry(path, id, size)
  defp listed_entry(_other), do: :damaged

  defp shown(item), do: inspect(item["path"], limit: 5, printable_limit: 100)

  defp pages(address, _subject, _settings, _items, 0),
    do: {:error, Problem.wrong("#{Address.shown(address)} lists files on more than #{@most_pages} pages")}

  defp pages(address, subject, settings, items, most) do
    case Request.json(address, subject, settings) do
      {:ok, page, headers} when is_list(page) ->
        items = [items | page]

        case next(address, headers) do
          nil -> {:ok, items |> List.flatten() |> Enum.filter(&is_map/1)}
          {:ok, next} -> pages(next, subject, settings, items, most - 1)
          {:error, problem} -> {:error, problem}
        end

      {:ok, _other, _headers} ->
        {:error, no_hub(address)}

      {:error, problem} ->
        {:error, problem}
    end
  end

  # `link: <address>; rel="next"`. Another server has no part of the list.
  defp next(address, headers) do
    with text when text != nil <- Problem.header(headers, "link"),
         [_, link] <- Regex.run(~r/<([^>]+)>\s*;[^,]*\brel="?next"?/, text) do
      case Address.redirected(address, link) do
        {:ok, next} ->
          if Address.same_origin?(address, next),
            do: {:ok, next},
            else: {:error, Problem.wrong("#{Address.shown(address)} says that its next page is on another server")}

        {:error, why} ->
          {:error, Problem.wrong("#{Address.shown(address)} leads #{why} for its next page")}
      end
    else
      _last -> nil
    end
  end

  # A cache that cannot be written says so when a file is placed.
  defp keep(settings, repository, commit, items) do
    files = for %{"type" => "file", "path" => path} = item <- items, into: %{}, do: {path, fields(item)}
    {all, some} = Cache.trees(settings, repository, commit)
    path = if settings.files == [Patterns.all()] and settings.ignore in [nil, []], do: all, else: some
    Cache.write!(path, JSON.encode!(%{"format_version" => @format, "files" => files}))
  rescue
    _unwritable in Mlx.Error -> :ok
  end

  defp fields(item) do
    lfs = with %{"oid" => id, "size" => size} <- item["lfs"], do: %{"lfs_sha256" => id, "lfs_size" => size}
    hash = item["xetHash"]
    xet = if is_binary(hash) and hash =~ ~r/\A[0-9a-f]{64}\z/, do: %{"xet_hash" => hash}, else: %{}
    %{"size" => item["size"], "blob_id" => item["oid"]} |> Map.merge(lfs || %{}) |> Map.merge(xet)
  end

  @doc "A single file of a revision with its commit, as its server tells them."
  @spec file(map(), String.t(), String.t(), String.t()) :: {:ok, String.t(), Blob.file()} | {:error, Problem.t()}
  def file(settings, repository, revision, path) do
    address = Address.file(settings, repository, revision, path)

    with {:ok, headers} <- Request.head(address, Request.subject(settings, repository, revision, path), settings) do
      etag = tag(Problem.header(headers, "x-linked-etag") || Problem.header(headers, "etag"))
      commit = Problem.header(headers, "x-repo-commit")

      cond do
        not Name.commit?(commit) ->
          {:error, no_hub(address)}

        not Name.etag?(etag) ->
          {:error, Problem.wrong("#{Address.shown(address)} has no entity tag that can name a file")}

        true ->
          {:ok, commit, %{path: path, etag: etag, size: size(headers)}}
      end
    end
  end

  defp tag(nil), do: nil
  defp tag(text), do: text |> String.trim() |> String.replace_prefix("W/", "") |> String.trim("\"")

  # The length of a redirect is that of its text.
  defp size(headers) do
    length = if Problem.header(headers, "location") == nil, do: plain_length(headers)

    case Integer.parse(Problem.header(headers, "x-linked-size") || length || "") do
      {size, ""} when size >= 0 -> size
      _unknown -> nil
    end
  end

  @spec plain_length(Connection.headers()) :: String.t() | nil
  defp plain_length(headers) do
    if Problem.header(headers, "content-encoding") in [nil, "identity"], do: Problem.header(headers, "content-length")
  end
end
