defmodule Mlx.NxConformance.Verdict do
  @moduledoc "What the results are worth: what is printed of them, and whether they are as the list of exceptions says."

  alias Mlx.NxConformance.{Exceptions, Results}

  @columns [passed: "passed", failed: "failed", failed_without: "without Mlx too", excluded: "excluded"]
  # So many of a hundred tests may be on the list, without those that only fail sometimes.
  @most_exceptions 3

  @doc "Prints the counts of every file and what is not as the list says, with `verbose` with the errors."
  @spec print([Results.result()], Exceptions.t(), boolean()) :: :ok
  def print(results, exceptions, verbose) do
    for {file, tests} <- results |> Enum.group_by(& &1.file) |> Enum.sort(), do: counts(file, tests)
    counts("all", results)

    for result <- unexpected(results, exceptions) do
      IO.puts("\n#{result.file}\t#{result.name}")
      if verbose, do: IO.puts(result.text)
    end

    for {file, name} <- unneeded(results, exceptions),
        do: IO.puts("\n#{file}\t#{name}\n  is on the list of exceptions, and does not fail with Mlx alone")

    :ok
  end

  defp counts(name, results) do
    count = Enum.frequencies_by(results, & &1.outcome)
    seconds = results |> Enum.map(& &1.seconds) |> Enum.sum()

    IO.puts([
      String.pad_trailing(name, 58),
      for({outcome, title} <- @columns, do: "#{title} #{String.pad_leading("#{count[outcome] || 0}", 4)}  "),
      :io_lib.format("~7.1f s", [seconds])
    ])
  end

  @doc "Whether the tests that failed with Mlx alone are those of the list, as far as their files were run."
  @spec expected?([Results.result()], Exceptions.t()) :: boolean()
  def expected?(results, exceptions) do
    unexpected(results, exceptions) == [] and unneeded(results, exceptions) == []
  end

  defp unexpected(results, exceptions) do
    for %{outcome: :failed} = result <- results, not is_map_key(exceptions, {result.file, result.name}), do: result
  end

  defp unneeded(results, exceptions) do
    files = MapSet.new(results, & &1.file)
    failed = for %{outcome: :failed} = result <- results, into: MapSet.new(), do: {result.file, result.name}

    for {{file, _name} = test, reason} <- exceptions,
        file in files,
        test not in failed,
        not Exceptions.sometimes?(reason),
        do: test
  end

  @doc "Whether the list is short beside the number of tests."
  @spec few?([Results.result()], Exceptions.t()) :: boolean()
  def few?(results, exceptions) do
    always = Enum.count(exceptions, fn {_test, reason} -> not Exceptions.sometimes?(reason) end)
    few = 100 * always <= @most_exceptions * length(results)
    if not few, do: IO.puts("\n#{always} exceptions are more than #{@most_exceptions} % of the tests")
    few
  end
end
