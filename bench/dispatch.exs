for file <- ["rounds.exs", "table.exs"], do: Code.require_file(file, __DIR__)

defmodule Bench.Dispatch do
  @moduledoc false

  alias Bench.{Rounds, Table}

  @chain 1000
  @reads 100
  @rounds 10
  # The caches of the processor are cold after the other side's turn, so a round is the best of several repetitions.
  @repetitions 10
  @rows [
    "lazy operation of a chain of #{@chain}",
    "forced operation of a chain of #{@chain}",
    "add + eval",
    "add + to_binary"
  ]

  def run do
    one = Mlx.eval(Mlx.ones({10}))
    arguments = Enum.map([@chain, @reads, @repetitions], &Integer.to_string/1)
    results = Rounds.alternate("dispatch.py", arguments, @rounds, fn -> round_of(one) end)
    {ours, theirs} = Enum.unzip(results)
    [us | _] = ours = Rounds.best(ours)
    [py | _] = theirs = Rounds.best(theirs)

    Table.header("us per operation", "Mlx")
    Table.print(@rows, ours, theirs)
    IO.puts("dispatch ratio: #{Table.format(us / py)}")
  end

  defp round_of(one) do
    Rounds.best(
      for _repetition <- 1..@repetitions do
        :erlang.garbage_collect()
        measure(one)
      end
    )
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
