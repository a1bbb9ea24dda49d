defmodule Mlx.Hub.Inventory do
  @moduledoc false
  # What is in the cache: the repositories with their revisions, and how they are deleted.

  alias Mlx.Hub.{Cache, Name}

  @doc "The repositories of the cache, sorted by their names."
  @spec repositories(map()) :: [map()]
  def repositories(settings) do
    for folder <- list(settings.cache), name = Name.of_folder(folder), name != nil, do: repository(settings, name)
  end

  defp repository(settings, name) do
    folder = Cache.repository(settings, name)
    references = references(folder)
    revisions = for commit <- commits(folder), do: revision(folder, commit, references)

    blobs =
      for blob <- list(Path.join(folder, "blobs")), {:ok, stat} <- [stat(Path.join([folder, "blobs", blob]))], do: stat

    # Without links, the files lie in the snapshots.
    apart = for revision <- revisions, {:file, stat} <- revision.contents, do: stat
    used = for stat <- blobs ++ apart, do: max(stat.atime, stat.mtime)

    %{
      name: name,
      folder: folder,
      size: Enum.sum_by(blobs ++ apart, & &1.size),
      revisions: for(revision <- revisions, do: Map.delete(revision, :contents)),
      last_used: date(Enum.max(used, fn -> nil end))
    }
  end

  # Other entries, such as a link to another place, are no snapshots.
  defp commits(folder) do
    snapshots = Path.join(folder, "snapshots")

    for commit <- list(snapshots),
        Name.commit?(commit),
        {:ok, %{type: :directory}} <- [File.lstat(Path.join(snapshots, commit))],
        do: commit
  end

  defp revision(folder, commit, references) do
    contents = contents(Path.join([folder, "snapshots", commit]))

    %{
      commit: commit,
      names: Enum.sort(for {name, ^commit} <- references, do: name),
      folder: Path.join([folder, "snapshots", commit]),
      files: length(contents),
      size: Enum.sum_by(contents, fn {_kind, stat} -> stat.size end),
      modified: date(Enum.max(for({_kind, stat} <- contents, do: stat.mtime), fn -> nil end)),
      contents: contents
    }
  end

  # The files of a snapshot: `{:link, stat}` of the blob, or `{:file, stat}`. Those that share their bytes with a blob count there.
  defp contents(folder) do
    for path <- walk(folder), {:ok, stat} <- [stat(path)] do
      if match?({:ok, _target}, File.read_link(path)) or stat.links > 1, do: {:link, stat}, else: {:file, stat}
    end
  end

  defp references(folder) do
    refs = Path.join(folder, "refs")
    for path <- walk(refs), {:ok, text} <- [File.read(path)], do: {Path.relative_to(path, refs), String.trim(text)}
  end

  # A link to a folder is not followed.
  defp walk(folder) do
    for name <- list(folder), path = Path.join(folder, name), found <- below(path), do: found
  end

  defp below(path) do
    case File.lstat(path) do
      {:ok, %{type: :directory}} -> walk(path)
      {:ok, _file} -> [path]
      {:error, _gone} -> []
    end
  end

  defp stat(path) do
    with {:ok, %{type: :regular}} = stat <- File.stat(path, time: :posix), do: stat
  end

  defp list(folder) do
    case File.ls(folder) do
      {:ok, names} -> Enum.sort(names)
      {:error, _none} -> []
    end
  end

  defp date(nil), do: nil
  defp date(seconds), do: DateTime.from_unix!(seconds)

  @doc "Deletes a repository. Returns how many bytes are free again, or nil where there is none."
  @spec delete(map(), String.t()) :: non_neg_integer() | nil
  def delete(settings, name) do
    folder = Cache.repository(settings, name)

    if File.dir?(folder) do
      size = size(folder)
      remove!(folder)
      File.rm_rf(Cache.locks(settings, name))
      size
    end
  end

  @doc "Deletes one revision, and the files that no other has."
  @spec delete_revision(map(), String.t()) :: non_neg_integer() | nil
  def delete_revision(settings, name) do
    folder = Cache.repository(settings, name)
    commit = Cache.commit(settings, name)
    snapshot = commit && Cache.snapshot(settings, name, commit)

    if commit != nil and File.dir?(snapshot) do
      before = size(folder)
      remove!(snapshot)
      for {reference, ^commit} <- references(folder), do: File.rm(Path.join([folder, "refs", reference]))
      for path <- Tuple.to_list(Cache.trees(settings, name, commit)), do: File.rm(path)
      remove_unused(folder)
      if commits(folder) == [], do: remove!(folder)
      before - size(folder)
    end
  end

  defp remove_unused(folder) do
    used =
      for path <- walk(Path.join(folder, "snapshots")),
          {:ok, target} <- [File.read_link(path)],
          do: Path.basename(target)

    for blob <- list(Path.join(folder, "blobs")) -- used, do: File.rm(Path.join([folder, "blobs", blob]))
  end

  defp size(folder) do
    files =
      for path <- walk(folder), {:ok, %{type: :regular} = stat} <- [File.lstat(path)], do: {stat.inode, path, stat}

    files
    |> Enum.uniq_by(fn {inode, path, stat} -> if stat.links > 1, do: inode, else: path end)
    |> Enum.sum_by(&elem(&1, 2).size)
  end

  # It is gone at once for all others.
  defp remove!(folder) do
    aside = Path.join(Path.dirname(folder), ".deleted-#{Base.encode16(:crypto.strong_rand_bytes(6), case: :lower)}")

    with :ok <- File.rename(folder, aside), {:ok, _removed} <- File.rm_rf(aside) do
      :ok
    else
      {:error, reason} -> raise Mlx.Error, "cannot delete #{folder}: #{:file.format_error(reason)}"
      {:error, reason, path} -> raise Mlx.Error, "cannot delete #{path}: #{:file.format_error(reason)}"
    end
  end
end
