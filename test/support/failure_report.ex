defmodule Mlx.FailureReport do
  @moduledoc """
  A formatter of ExUnit that also writes failed tests into a file.

  `bin/test` prints the file at its end, after the coverage of all modules and the tests of other suites, where failures are
  seen even if only the last lines of a log are kept.
  """

  use GenServer

  alias ExUnit.Formatter

  @width 120

  @impl GenServer
  def init(_options) do
    path = System.get_env("MLX_TEST_FAILURES", "")
    if path == "", do: :ignore, else: {:ok, %{path: path, count: 0}}
  end

  @impl GenServer
  def handle_cast({:test_finished, %ExUnit.Test{state: {:failed, failures}} = test}, state) do
    {:noreply, write(state, &Formatter.format_test_failure(test, failures, &1, @width, fn _kind, text -> text end))}
  end

  def handle_cast({:module_finished, %ExUnit.TestModule{state: {:failed, failures}} = module}, state) do
    format = &Formatter.format_test_all_failure(module, failures, &1, @width, fn _kind, text -> text end)
    {:noreply, write(state, format)}
  end

  def handle_cast(_event, state), do: {:noreply, state}

  defp write(%{path: path, count: count} = state, format) do
    File.write!(path, [format.(count + 1), "\n"], [:append])
    %{state | count: count + 1}
  end
end
