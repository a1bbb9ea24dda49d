defmodule Mix.Tasks.Mlx.Models do
  @shortdoc "Lists the models of the cache, and deletes them"

  @moduledoc """
  Lists the models of the cache that Python's `huggingface_hub` has, too, and deletes them.

      mix mlx.models
      mix mlx.models --json
      mix mlx.models --delete mlx-community/Qwen3-0.6B-4bit
      mix mlx.models --delete mlx-community/Qwen3-0.6B-4bit@main

  Each line is a revision of a model: its name, its revision and the start of its commit, its size, its number of files, and
  the day when it was last downloaded. See `Mlx.Hub` for where the cache is.

    * `--delete NAME` - deletes a model, or with `@REVISION` what only this revision has; may be given several times
    * `--cache FOLDER` - another folder than that of the environment
    * `--json` - writes JSON: a list with an object for each model, or for each that was deleted
    * `--help`, `-h` - lists the options

  A name that is not in the cache ends it with exit status 1.

  Python: `hf cache list`, `hf cache rm`.
  """

  use Mix.Task

  alias Mix.Mlx.{CommandLine, Switches}

  @head "mix mlx.models [OPTIONS]"

  @rows [
    delete: {:several, "NAME", "delete a model, or with @REVISION what only this revision has; several times"},
    cache: {:string, "FOLDER", "another folder than that of the environment"}
  ]

  @requirements ["app.config"]

  @impl true
  def run(arguments) do
    with options when is_list(options) <- Switches.options(arguments, @head, @rows ++ Switches.group(:json)) do
      cache = Keyword.take(options, [:cache])
      json? = Keyword.get(options, :json, false)

      CommandLine.or_exit(fn ->
        case options[:delete] do
          nil -> cache |> Mlx.Hub.models() |> list(json?)
          names -> delete(names, cache, json?)
        end
      end)
    end
  end

  defp list(models, true), do: IO.puts(JSON.encode!(Enum.map(models, &values/1)))
  defp list([], false), do: IO.puts("There are no models in the cache.")

  defp list(models, false) do
    rows = Enum.flat_map(models, &rows/1)
    widths = for column <- 0..4, do: rows |> Enum.map(&String.length(elem(&1, column))) |> Enum.max()
    for row <- rows, do: IO.puts(line(Tuple.to_list(row), widths))
    IO.puts("#{count(length(models))}, #{size(Enum.sum_by(models, & &1.size))}")
  end

  defp rows(%{revisions: []} = model), do: [{model.name, "-", size(model.size), "0 files", "-"}]

  defp rows(model) do
    for revision <- model.revisions do
      names = Enum.join(revision.names ++ [String.slice(revision.commit, 0, 8)], " ")
      files = if revision.files == 1, do: "1 file", else: "#{revision.files} files"
      {model.name, names, size(revision.size), files, day(revision.modified)}
    end
  end

  # Sizes and numbers of files stand on the right of their columns.
  defp line([name, revision, size, files, day], [names, revisions, sizes, counts, _days]) do
    [String.pad_trailing(name, names), String.pad_trailing(revision, revisions), String.pad_leading(size, sizes)]
    |> Enum.concat([String.pad_leading(files, counts), day])
    |> Enum.join("  ")
  end

  defp day(nil), do: "-"
  defp day(date), do: date |> DateTime.to_date() |> Date.to_iso8601()

  defp count(1), do: "1 model"
  defp count(models), do: "#{models} models"

  defp size(bytes) when bytes >= 1_000_000_000, do: "#{Float.round(bytes / 1.0e9, 1)} GB"
  defp size(bytes) when bytes >= 1_000_000, do: "#{Float.round(bytes / 1.0e6, 1)} MB"
  defp size(bytes), do: "#{Float.round(bytes / 1.0e3, 1)} kB"

  defp values(model) do
    %{
      model
      | last_used: text(model.last_used),
        revisions: Enum.map(model.revisions, &%{&1 | modified: text(&1.modified)})
    }
  end

  defp text(nil), do: nil
  defp text(date), do: DateTime.to_iso8601(date)

  defp delete(names, cache, json?) do
    deleted = for name <- names, do: {name, deleted(name, cache, json?)}
    if json?, do: IO.puts(JSON.encode!(for {name, freed} <- deleted, do: %{name: name, freed: freed}))
  end

  defp deleted(name, cache, json?) do
    freed = Mlx.Hub.delete(name, cache)
    if not json?, do: IO.puts("Deleted #{name}: #{size(freed)}")
    freed
  end
end
