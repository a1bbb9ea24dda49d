defmodule Mlx.Hub.Cache do
  @moduledoc false
  # The folder that is shared with Python's library:
  #
  #     models--org--name/refs/main                    the commit of a branch or tag
  #     models--org--name/blobs/TAG                    the bytes of files, named by their checksum
  #     models--org--name/snapshots/COMMIT/path        the files of a commit, links to the blobs
  #     models--org--name/trees/COMMIT.json            what files the commit has, all of which are here
  #     models--org--name/trees/COMMIT.mlx.json        the same where only some of them were wanted
  #     .locks/models--org--name/
  #
  # Each file takes its name by a rename when it is complete.

  alias Mlx.Hub.{Name, Settings}

  @doc "The folder of a repository."
  @spec repository(Settings.t(), String.t()) :: Path.t()
  def repository(settings, repository), do: Path.join(settings.cache, Name.folder(repository))

  @doc "The file of a blob."
  @spec blob(Settings.t(), String.t(), String.t()) :: Path.t()
  def blob(settings, repository, etag), do: Path.join([repository(settings, repository), "blobs", etag])

  @doc "The folder of the locks of a repository."
  @spec locks(Settings.t(), String.t()) :: Path.t()
  def locks(settings, repository), do: Path.join([settings.cache, ".locks", Name.folder(repository)])

  @doc "The folder of a commit's files."
  @spec snapshot(Settings.t(), String.t(), String.t()) :: Path.t()
  def snapshot(settings, repository, commit), do: Path.join([repository(settings, repository), "snapshots", commit])

  @doc "The files that may have the list of a commit's files: Python's, and that of a part of them, which Python would miss."
  @spec trees(Settings.t(), String.t(), String.t()) :: {Path.t(), Path.t()}
  def trees(settings, repository, commit) do
    path = Path.join([repository(settings, repository), "trees", commit])
    {path <> ".json", path <> ".mlx.json"}
  end

  @doc "The commit of a revision as it is cached, or nil."
  @spec commit(Settings.t(), String.t()) :: String.t() | nil
  def commit(settings, repository) do
    if Name.commit?(settings.revision) do
      settings.revision
    else
      with {:ok, text} <- File.read(ref(settings, repository)),
           commit = String.trim(text),
           true <- Name.commit?(commit) do
        commit
      else
        _none -> nil
      end
    end
  end

  defp ref(settings, repository), do: Path.join([repository(settings, repository), "refs", settings.revision])

  @doc "Remembers the commit of a branch or a tag."
  @spec put_commit(Settings.t(), String.t(), String.t()) :: :ok
  def put_commit(settings, repository, commit) do
    if commit != commit(settings, repository), do: write!(ref(settings, repository), commit)
    :ok
  end

  @doc "The folder of the revision's files, if there is one."
  @spec cached(Settings.t(), String.t()) :: Path.t() | nil
  def cached(settings, repository) do
    with commit when commit != nil <- commit(settings, repository),
         folder = snapshot(settings, repository, commit),
         true <- File.dir?(folder) do
      folder
    else
      _none -> nil
    end
  end

  @doc "Marks the cache as one, so that backups may leave it out."
  @spec mark(Settings.t()) :: :ok
  def mark(settings) do
    path = Path.join(settings.cache, "CACHEDIR.TAG")

    if not File.exists?(path) do
      File.write(
        path,
        "Signature: 8a477f597d28d172789f06886806bc55\n# A cache of models. See https://bford.info/cachedir/\n"
      )
    end

    :ok
  end

  @doc "Writes a small file, which takes its name when it is complete."
  @spec write!(Path.t(), iodata()) :: :ok
  def write!(path, content) do
    place!(path, &File.write(&1, content))
  end

  @doc "Lets the path of a snapshot be the blob: by a link, or where the system has none, by a copy."
  @spec link!(Settings.t(), String.t(), String.t(), String.t(), String.t()) :: Path.t()
  def link!(settings, repository, commit, path, etag) do
    pointer = Path.join(snapshot(settings, repository, commit), path)
    depth = length(String.split(path, "/")) + 1
    target = Path.join(List.duplicate("..", depth) ++ ["blobs", etag])

    if not linked?(pointer, target) do
      blob = blob(settings, repository, etag)

      place!(pointer, fn path ->
        with {:error, _none} <- symbolic(target, path), {:error, _none} <- File.ln(blob, path), do: File.cp(blob, path)
      end)
    end

    pointer
  end

  defp linked?(pointer, target),
    do: File.exists?(pointer) and File.read_link(pointer) in [{:ok, target}, {:error, :einval}]

  defp symbolic(target, path) do
    if Settings.true?("HF_HUB_DISABLE_SYMLINKS"), do: {:error, :forbidden}, else: File.ln_s(target, path)
  end

  defp place!(path, make) do
    unfinished = "#{path}.#{Base.encode16(:crypto.strong_rand_bytes(4), case: :lower)}.tmp"

    with :ok <- File.mkdir_p(Path.dirname(path)),
         :ok <- make.(unfinished),
         :ok <- File.rename(unfinished, path) do
      :ok
    else
      {:error, reason} ->
        File.rm(unfinished)
        failed!(path, reason)
    end
  end

  @doc "Raises for a file that cannot be written."
  @spec failed!(Path.t(), File.posix()) :: no_return()
  def failed!(path, reason), do: raise(Mlx.Error, "cannot write #{path}: #{:file.format_error(reason)}")
end
