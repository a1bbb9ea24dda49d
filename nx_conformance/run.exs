# Runs Nx's own tests with Mlx.Backend: see bin/nx_conformance.
for file <- ["equality.exs", "doctests.exs", "report.exs"], do: Code.require_file(file, __DIR__)

defmodule Mlx.NxConformance do
  @moduledoc false

  alias Mlx.NxConformance.{Equality, Report}

  @exceptions Path.join(__DIR__, "exceptions.tsv")
  # So many of a hundred tests may be on the list, without those that only fail sometimes.
  @most_exceptions 3

  @spec main([String.t()]) :: no_return()
  def main(arguments) do
    {options, files} = OptionParser.parse!(arguments, strict: [verbose: :boolean, compiler: :boolean])

    case root() do
      {:ok, root} -> root |> run(files, options) |> exit_with()
      {:error, reason} -> IO.puts("Nx's own tests are left out: #{reason}")
    end
  end

  defp root do
    cond do
      not Code.ensure_loaded?(Nx) -> {:error, "Nx could not be loaded"}
      File.exists?(Path.join(:code.lib_dir(:nx), "test/nx_test.exs")) -> {:ok, :code.lib_dir(:nx)}
      true -> {:error, "they are not in #{:code.lib_dir(:nx)}"}
    end
  end

  defp run(root, files, options) do
    {:ok, _} = Application.ensure_all_started(:mlx)
    File.cd!(root)
    configure()
    load_support()
    # What the tests compute while they are compiled becomes a part of their code, which no reference can.
    Code.with_diagnostics(fn -> for file <- files(files), do: load(file) end)
    Nx.global_default_backend(Mlx.Backend)
    if options[:compiler], do: Nx.Defn.global_default_options(compiler: Mlx.Compiler)
    ExUnit.run()
    report(Report.take(), exceptions(options[:compiler]), files == [], options[:verbose])
  end

  defp configure do
    Application.put_env(:mlx, :add_backend_on_inspect, false)
    Application.put_env(:mlx, :bounds_check, :raise)
    {:ok, _pid} = Report.start_link()

    ExUnit.start(
      autorun: false,
      exclude: [:distributed],
      formatters: [Report.Formatter],
      assert_receive_timeout: 1000,
      timeout: 120_000,
      seed: 0
    )
  end

  defp files([]), do: Path.wildcard("test/**/*_test.exs")
  defp files(files), do: files

  defp load_support do
    Code.compiler_options(ignore_module_conflict: true)
    for file <- Path.wildcard("test/support/*.ex"), do: load(file)
  end

  defp load(file) do
    file
    |> File.read!()
    |> Code.string_to_quoted!(file: Path.expand(file))
    |> Equality.rewrite()
    |> Code.eval_quoted([], file: Path.expand(file))
  end

  defp report(results, exceptions, complete, verbose) do
    for {file, tests} <- results |> Enum.group_by(&elem(&1, 0)) |> Enum.sort(), do: summary(file, tests)
    summary("all", results)
    failed = for {file, name, :failed, text} <- results, do: {{file, name}, text}
    unexpected = for {key, text} <- failed, not is_map_key(exceptions, key), do: {key, text}
    failed_keys = Map.new(failed)

    passing =
      for {key, reason} <- exceptions, complete, not is_map_key(failed_keys, key), not sometimes?(reason), do: key

    for {{file, name}, text} <- unexpected do
      IO.puts("\n#{file}\t#{name}")
      if verbose, do: IO.puts(text)
    end

    for {file, name} <- passing, do: IO.puts("\n#{file}\t#{name}\n  is on the list of exceptions, and does not fail")
    always = Enum.count(exceptions, fn {_key, reason} -> not sometimes?(reason) end)
    many = complete and 100 * always / max(length(results), 1) > @most_exceptions
    if many, do: IO.puts("\n#{always} exceptions are more than #{@most_exceptions} % of the tests")
    unexpected == [] and passing == [] and not many
  end

  defp summary(name, results) do
    count = Enum.frequencies_by(results, &elem(&1, 2))

    IO.puts(
      String.pad_trailing(name, 48) <>
        Enum.map_join([:passed, :failed, :excluded], "  ", &"#{&1} #{String.pad_leading("#{count[&1] || 0}", 4)}")
    )
  end

  # A test of random numbers may pass or not, and so may one of processes that run a race.
  defp sometimes?(reason), do: String.starts_with?(reason, "sometimes: ")

  # A file, a test, who fails it (the backend, the compiler, or both) and a reason on each line, with tabs between them.
  defp exceptions(compiler) do
    who = ["both", if(compiler, do: "compiler", else: "backend")]

    for line <- @exceptions |> File.stream!() |> Stream.map(&String.trim_trailing(&1, "\n")),
        [file, name, failing, reason] = String.split(line, "\t"),
        failing in who,
        into: %{},
        do: {{file, name}, reason}
  end

  defp exit_with(true), do: System.halt(0)
  defp exit_with(false), do: System.halt(1)
end

Mlx.NxConformance.main(System.argv())
