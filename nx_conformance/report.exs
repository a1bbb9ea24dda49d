defmodule Mlx.NxConformance.Report do
  @moduledoc "Collects how every test of a file ended."

  use GenServer

  @spec start_link() :: GenServer.on_start()
  def start_link, do: GenServer.start_link(__MODULE__, nil, name: __MODULE__)

  @doc "The results so far, as `{file, name, result, text}`."
  @spec take() :: [{String.t(), String.t(), :passed | :failed | :excluded, String.t()}]
  def take, do: GenServer.call(__MODULE__, :take)

  @impl true
  def init(_), do: {:ok, []}

  @impl true
  def handle_call(:take, _from, results), do: {:reply, Enum.reverse(results), []}

  @impl true
  def handle_cast({:add, result}, results), do: {:noreply, [result | results]}

  defmodule Formatter do
    @moduledoc "Passes the results of ExUnit on."

    use GenServer

    alias Mlx.NxConformance.Report

    @impl true
    def init(options), do: {:ok, options}

    @impl true
    def handle_cast({:test_finished, test}, options) do
      {result, text} = result(test)
      GenServer.cast(Report, {:add, {Path.relative_to_cwd(test.tags.file), to_string(test.name), result, text}})
      {:noreply, options}
    end

    def handle_cast(_event, options), do: {:noreply, options}

    defp result(%{state: nil}), do: {:passed, ""}
    defp result(%{state: {kind, reason}}) when kind in [:excluded, :skipped], do: {:excluded, to_string(reason)}

    defp result(%{state: {:failed, failures}} = test) do
      {:failed, ExUnit.Formatter.format_test_failure(test, failures, 1, 120, fn _key, text -> text end)}
    end

    defp result(%{state: {:invalid, _module}}), do: {:failed, "its setup failed"}
  end
end
