Code.require_file("rounds.exs", __DIR__)

defmodule Bench.Dispatch do
  @moduledoc false

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
    results = Bench.Rounds.alternate("dispatch.py", arguments, @rounds, fn -> round_of(one) end)
    {ours, theirs} = Enum.unzip(results)
    rows = Enum.zip([@rows, best(ours), best(theirs)])

    IO.puts(row("us per operation", ["Mlx", "Python", "ratio"]))
    for {name, us, py} <- rows, do: IO.puts(row(name, [format(us), format(py), format(us / py)]))

    [{_lazy, us, py} | _] = rows
    IO.puts("dispatch ratio: #{format(us / py)}")
  end

  defp round_of(one) do
    best(
      for _repetition <- 1..@repetitions do
        :erlang.garbage_collect()
        measure(one)
      end
    )
  end

  defp measure(one) do
    {lazy, sum} = time(fn -> chain(one, one, @chain) end)
    {forced, _sum} = time(fn -> Mlx.eval(sum) end)
    {eval, _} = time(fn -> repeat(@reads, fn -> Mlx.eval(Mlx.add(one, one)) end) end)
    {binary, _} = time(fn -> repeat(@reads, fn -> Mlx.to_binary(Mlx.add(one, one)) end) end)
    [lazy / @chain, (lazy + forced) / @chain, eval / @reads, binary / @reads]
  end

  defp chain(sum, _one, 0), do: sum
  defp chain(sum, one, count), do: chain(Mlx.add(sum, one), one, count - 1)

  defp repeat(0, _fun), do: :ok

  defp repeat(count, fun) do
    fun.()
    repeat(count - 1, fun)
  end

  # In microseconds.
  defp time(fun) do
    start = System.monotonic_time(:nanosecond)
    result = fun.()
    {(System.monotonic_time(:nanosecond) - start) / 1000, result}
  end

  defp best(rounds), do: Enum.zip_with(rounds, &Enum.min/1)
  defp row(name, cells), do: String.pad_trailing(name, 40) <> Enum.map_join(cells, &String.pad_leading(&1, 10))
  defp format(number), do: :erlang.float_to_binary(number, decimals: 2)
end

Bench.Dispatch.run()
