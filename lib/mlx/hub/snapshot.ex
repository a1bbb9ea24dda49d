defmodule Mlx.Hub.Snapshot do
  @moduledoc false
  # The files of a commit, several at a time. One that fails stops the others, which keep what they have for the next time.

  alias Mlx.Hub.{Blob, Cache, FreeSpace, Problem, Progress}

  @look 100

  # Of the counters that the processes share.
  @next 1
  @bytes 2
  @complete 3
  @stopped 4

  @doc "Brings files of a commit into the cache. Raises where one of them cannot be had."
  @spec fetch!(map(), String.t(), String.t(), [Blob.file()]) :: Path.t()
  def fetch!(settings, repository, commit, files) do
    present = Enum.sum_by(files, &Blob.present(settings, repository, &1))
    total = Enum.sum_by(files, &(&1.size || 0))
    if total > present, do: FreeSpace.check!(settings.cache, total - present)
    Cache.mark(settings)

    counters = :atomics.new(@stopped, signed: true)
    :atomics.put(counters, @bytes, present)

    work = %{
      settings: settings,
      repository: repository,
      commit: commit,
      files: List.to_tuple(files),
      counters: counters
    }

    tasks = for _ <- 1..min(settings.parallel, max(length(files), 1)), do: Task.async(fn -> run(work) end)
    # A bar is for those who wait.
    target = if present < total or is_function(settings.progress), do: settings.progress, else: false
    progress = Progress.new(repository, target, length(files), total, present)

    case await(tasks, counters, progress, []) do
      [] -> Cache.snapshot(settings, repository, commit)
      [failure | _] -> raise failure
    end
  end

  defp await([], counters, progress, failures) do
    progress = Progress.tell(progress, :atomics.get(counters, @complete), :atomics.get(counters, @bytes))
    Progress.finish(progress)
    failures
  end

  defp await(tasks, counters, progress, failures) do
    done = Task.yield_many(tasks, timeout: @look)
    progress = Progress.tell(progress, :atomics.get(counters, @complete), :atomics.get(counters, @bytes))
    failures = failures ++ for {_task, {:ok, {:failed, error}}} <- done, do: error
    await(for({task, nil} <- done, do: task), counters, progress, failures)
  end

  # The next file that nobody has begun, until there is none.
  defp run(%{files: files, counters: counters} = work) do
    index = :atomics.add_get(counters, @next, 1) - 1

    if index < tuple_size(files) and not stopped?(counters) do
      case file(work, elem(files, index)) do
        :ok ->
          :atomics.add(counters, @complete, 1)
          run(work)

        {:error, %Problem{kind: :stopped}} ->
          :stopped

        {:error, problem} ->
          :atomics.put(counters, @stopped, 1)
          {:failed, %Mlx.Error{message: problem.text}}
      end
    else
      :done
    end
  rescue
    error ->
      :atomics.put(counters, @stopped, 1)
      {:failed, error}
  end

  defp stopped?(counters), do: :atomics.get(counters, @stopped) == 1

  defp file(%{settings: settings, repository: repository, commit: commit, counters: counters}, file) do
    count = &:atomics.add(counters, @bytes, &1)

    with :ok <- Blob.fetch(settings, repository, commit, file, count, fn -> stopped?(counters) end) do
      Cache.link!(settings, repository, commit, file.path, file.etag)
      :ok
    end
  end
end
