for file <- ["rounds.exs", "table.exs"], do: Code.require_file(file, __DIR__)

defmodule Bench.Dispatch do
  @moduledoc false

  alias Bench.{Rounds, Table}

  @chain 1000
  @reads 100
  @rounds 10
  @rows [
    "lazy operation of a chain of #{@chain}",
    "forced operation of a chain of #{@chain}",
    "add + eval",
    "add + to_binary"
  ]

  def run do
    one = Mlx.eval(Mlx.ones({10}))
    arguments = Enum.map([@chain, @reads, Rounds.repetitions()], &Integer.to_string/1)

    {[us | _] = ours, [py | _] = theirs} =
      Rounds.compare("dispatch.py", arguments, @rounds, fn -> Rounds.best_repetition(fn -> measure(one) end) end)

    Table.header("us per operation", "Mlx")
    Table.print(@rows, ours, theirs)
    IO.puts("dispatch ratio: #{Table.format(us / py)}")
  end

  defp measure(one) do
    {lazy, sum} = Rounds.time(fn -> chain(one, one, @chain) end)
    {forced, _sum} = Rounds.time(fn -> Mlx.eval(sum) end)
    eval = Rounds.time_of_one(@reads, fn -> Mlx.eval(Mlx.add(one, one)) end)
    binary = Rounds.time_of_one(@reads, fn -> Mlx.to_binary(Mlx.add(one, one)) end)
    [lazy / @chain, (lazy + forced) / @chain, eval, binary]
  end

  defp chain(sum, _one, 0), do: sum
  defp chain(sum, one, count), do: chain(Mlx.add(sum, one), one, count - 1)
end

Bench.Dispatch.run()
