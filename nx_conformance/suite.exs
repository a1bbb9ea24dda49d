defmodule Mlx.NxConformance.Suite do
  @moduledoc "The tests of a library: how they are loaded and run. Its folder is the current one."

  alias Mlx.NxConformance.{Defaults, Equality, Results}

  # The slowest tests take minutes where every operation is evaluated on its own.
  @timeout 600_000
  # A process that a test waits for may wait itself for a kernel that another test has compiled for a GPU.
  @message_timeout 10_000

  @doc "Loads these test files and what supports them; tests with one of these tags will not be run."
  @spec load([Path.t()], [atom()]) :: :ok
  def load(files, excluded) do
    Application.put_env(:mlx, :add_backend_on_inspect, false)
    Application.put_env(:mlx, :bounds_check, :raise)
    {:ok, _pid} = Results.start_link()

    ExUnit.start(
      autorun: false,
      exclude: excluded,
      formatters: [Results.Formatter],
      assert_receive_timeout: @message_timeout,
      timeout: @timeout,
      seed: 0
    )

    Code.compiler_options(ignore_module_conflict: true)
    for file <- Path.wildcard("test/support/**/*.ex"), do: eval(file)
    # What the tests compute while they are compiled becomes a part of their code, which no reference can: it is done by
    # Nx's own backend.
    Code.with_diagnostics(fn -> for file <- files, do: eval(file) end)
    :ok
  end

  defp eval(file) do
    file
    |> File.read!()
    |> Code.string_to_quoted!(file: Path.expand(file))
    |> Equality.rewrite()
    |> Defaults.rewrite()
    |> Code.eval_quoted([], file: Path.expand(file))
  end

  @doc "The results with Mlx. Tests that fail are run again without it, to tell those apart that fail anyway."
  @spec run(boolean()) :: [Results.result()]
  def run(compiler?) do
    Defaults.use_mlx(compiler?)
    ExUnit.run()
    results = Results.take()
    failing_without = results |> failing() |> run_without() |> failing() |> MapSet.new()

    for result <- results,
        do: if(result.id in failing_without, do: %{result | outcome: :failed_without}, else: result)
  end

  defp run_without(tests) do
    Defaults.use_reference()
    ExUnit.configure(only_test_ids: MapSet.new(tests))
    ExUnit.run(for({module, _name} <- tests, uniq: true, do: module))
    Results.take()
  end

  defp failing(results), do: for(%{outcome: :failed, id: id} <- results, do: id)
end
