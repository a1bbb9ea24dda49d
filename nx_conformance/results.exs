defmodule Mlx.NxConformance.Results do
  @moduledoc "Collects how every test ended."

  use GenServer

  @type outcome :: :passed | :failed | :failed_without | :excluded
  @type result :: %{
          file: Path.t(),
          name: String.t(),
          id: {module(), atom()},
          outcome: outcome(),
          text: String.t(),
          seconds: float()
        }

  @spec start_link() :: GenServer.on_start()
  def start_link, do: GenServer.start_link(__MODULE__, nil, name: __MODULE__)

  @doc "The results since it was asked last."
  @spec take() :: [result()]
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

    alias Mlx.NxConformance.Results

    # Files that are not the library's lie here.
    @repository Path.dirname(__DIR__)

    @impl true
    def init(options), do: {:ok, options}

    @impl true
    def handle_cast({:test_finished, test}, options) do
      {outcome, text} = outcome(test)

      GenServer.cast(
        Results,
        {:add,
         %{
           file: test.tags.file |> Path.relative_to_cwd() |> Path.relative_to(@repository),
           name: to_string(test.name),
           id: {test.module, test.name},
           outcome: outcome,
           text: text,
           seconds: test.time / 1_000_000
         }}
      )

      {:noreply, options}
    end

    def handle_cast(_event, options), do: {:noreply, options}

    defp outcome(%{state: nil}), do: {:passed, ""}
    defp outcome(%{state: {kind, reason}}) when kind in [:excluded, :skipped], do: {:excluded, to_string(reason)}

    defp outcome(%{state: {:failed, failures}} = test) do
      {:failed, ExUnit.Formatter.format_test_failure(test, failures, 1, 120, fn _key, text -> text end)}
    end

    defp outcome(%{state: {:invalid, _module}}), do: {:failed, "its setup failed"}
  end
end
