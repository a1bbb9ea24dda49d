defmodule Mlx.Hub.Download do
  @moduledoc false
  # What `Mlx.Hub` brings: the files of a revision, or one of them, from the cache where that is enough, and where the Hub
  # cannot be reached.

  require Logger

  alias Mlx.Hub.{Cache, Listing, Patterns, Problem, Settings, Snapshot}

  @doc "The folder of a revision's files."
  @spec snapshot!(Settings.t(), String.t()) :: Path.t()
  def snapshot!(%{offline: true} = settings, repository),
    do: cached!(settings, repository, "the Hub is not asked (offline)")

  def snapshot!(settings, repository) do
    with {:ok, commit} <- Listing.commit(settings, repository),
         {:ok, entries} <- Listing.files(settings, repository, commit) do
      folder = Snapshot.fetch!(settings, repository, commit, selected!(settings, repository, entries))
      Cache.put_commit(settings, repository, commit)
      folder
    else
      {:error, problem} -> instead!(problem, fn why -> cached!(settings, repository, why) end)
    end
  end

  defp selected!(settings, repository, entries) do
    case Patterns.select(Enum.map(entries, & &1.path), settings.files, settings.ignore) do
      {:ok, []} ->
        raise Mlx.Error,
              "#{repository} has none of the files that are asked for; it has #{some(Enum.map(entries, & &1.path))}, " <>
                "and :files says which to take"

      {:ok, paths} ->
        Enum.filter(entries, &(&1.path in paths))

      {:choose, several} ->
        choose!(repository, several)
    end
  end

  defp choose!(repository, several) do
    raise Mlx.Error,
          "#{repository} has several GGUF files: #{some(several)}; choose by files: [#{inspect(hd(several))}], or by the name " <>
            inspect("#{repository}/#{hd(several)}")
  end

  defp some([]), do: "no file at all"
  defp some(paths) when length(paths) <= 8, do: Enum.join(paths, ", ")
  defp some(paths), do: Enum.join(Enum.take(paths, 8), ", ") <> " and #{length(paths) - 8} more"

  # The cache has to do where the Hub cannot be asked. What the Hub refuses or does not have stays an error.
  defp instead!(%Problem{kind: :unreachable, text: text}, cached) do
    found = cached.(text)
    Logger.warning("Mlx.Hub: #{text}; #{found} is taken as it is cached")
    found
  end

  defp instead!(%Problem{text: text}, _cached), do: raise(Mlx.Error, text)

  # The folder as it is cached, unless it is known to lack a file.
  defp cached!(settings, repository, why) do
    folder = Cache.cached(settings, repository)

    if folder == nil,
      do: raise(Mlx.Error, "#{why}, and #{text(settings, repository)} is not in the cache #{settings.cache}")

    case lacking(settings, repository, folder) do
      [] ->
        folder

      paths ->
        raise Mlx.Error,
              "#{why}, and #{text(settings, repository)} lacks #{some(paths)} in the cache #{settings.cache}; download it " <>
                "once more while the Hub can be reached"
    end
  end

  defp lacking(settings, repository, folder) do
    case Listing.cached(settings, repository, Path.basename(folder)) do
      nil ->
        []

      entries ->
        here? = &File.exists?(Path.join(folder, &1))

        case Patterns.select(Enum.map(entries, & &1.path), settings.files, settings.ignore) do
          {:ok, paths} -> Enum.reject(paths, here?)
          {:choose, several} -> if Enum.any?(several, here?), do: [], else: choose!(repository, several)
        end
    end
  end

  defp text(settings, repository), do: "#{repository} in the revision #{inspect(settings.revision)}"

  @doc "The path of one file of a revision."
  @spec file!(Settings.t(), String.t(), String.t()) :: Path.t()
  def file!(settings, repository, path) do
    here = with folder when folder != nil <- Cache.cached(settings, repository), do: existing(Path.join(folder, path))

    cond do
      here != nil and (settings.offline or Mlx.Hub.Name.commit?(settings.revision)) -> here
      settings.offline -> not_cached!(settings, repository, path, "the Hub is not asked (offline)")
      true -> ask_file!(settings, repository, path, here)
    end
  end

  defp existing(path), do: if(File.exists?(path), do: path)

  defp ask_file!(settings, repository, path, here) do
    case Listing.file(settings, repository, settings.revision, path) do
      {:ok, commit, file} ->
        folder = Snapshot.fetch!(settings, repository, commit, [file])
        Cache.put_commit(settings, repository, commit)
        Path.join(folder, path)

      {:error, problem} ->
        instead!(problem, fn why -> here || not_cached!(settings, repository, path, why) end)
    end
  end

  defp not_cached!(settings, repository, path, why) do
    raise Mlx.Error, "#{why}, and #{path} of #{text(settings, repository)} is not in the cache #{settings.cache}"
  end
end
