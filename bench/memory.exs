# What a row needs, and the table.
modules =
  for file <- ["rounds.exs", "transformer.exs", "models.exs", "memory_row.exs", "table.exs"],
      module <- Code.require_file(file, __DIR__),
      do: module

defmodule Bench.Memory do
  @moduledoc false
  # Each row has a virtual machine to itself, and a Python, in which nothing is left of another row.

  alias Bench.{Rounds, Table}

  @rows ["chain", "chain, read as a number", "60 elementwise layers", "training loop", "transformer of 24 layers"]
  # Rows whose weights are so large that the peak is that above them.
  @rows_of_weights ["generation"]
  @rows_of_processes [
    "server",
    "server that replies with arrays",
    "200 servers",
    "producer of graphs",
    "relay",
    "stream of tasks"
  ]

  # The megabytes that processes may have in use beside what can be reached at the end.
  @allowed 64.0

  @doc "Prints the rows, which these modules measure."
  def run(modules) do
    Table.header("MB", "Mlx")
    whole = for name <- @rows, do: compare(modules, name, fn [_before, peak, active] -> [peak, active] end)

    above =
      for name <- @rows_of_weights, do: compare(modules, name, fn [before, peak, active] -> [peak - before, active] end)

    Table.header("MB beside what can be reached", "Mlx", "allowed")
    processes = for name <- @rows_of_processes, do: compare_with_reachable(modules, name)

    IO.puts("memory ratio: #{[whole, above, processes] |> List.flatten() |> Enum.max() |> Table.format()}")
  end

  defp compare(modules, name, figures) do
    {ours, theirs} =
      Rounds.compare("memory.py", [name], 1, fn ->
        [before, peak, active, _reachable] = measure(modules, name)
        [before, peak, active]
      end)

    print(name, figures.(ours), figures.(theirs))
  end

  defp compare_with_reachable(modules, name) do
    [_before, peak, active, reachable] = measure(modules, name)
    print(name, [peak - reachable, active - reachable], [@allowed, @allowed])
  end

  defp print(name, ours, theirs) do
    Table.print(["#{name}: peak", "#{name}: in the end"], ours, theirs)
    Enum.zip_with(ours, theirs, &(&1 / &2))
  end

  defp measure(modules, name) do
    paths = Enum.flat_map(:code.get_path(), &[~c"-pa", &1])
    {:ok, peer, _node} = :peer.start_link(%{connection: :standard_io, args: paths})

    for {module, code} <- modules,
        do: {:module, _module} = :peer.call(peer, :code, :load_binary, [module, ~c"bench", code])

    measured = :peer.call(peer, Bench.MemoryRow, :measure, [name], :infinity)
    :peer.stop(peer)
    measured
  end
end

Bench.Memory.run(modules)
