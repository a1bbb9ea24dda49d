for file <- ["rounds.exs", "table.exs", "host_tokens.exs"], do: Code.require_file(file, __DIR__)

defmodule Bench.Host do
  @moduledoc false

  alias Bench.{HostTokens, Rounds, Table}

  @rounds 5
  @arrays 288
  @calls 50

  @rows [
    "compiled call: #{@arrays} in, 1 out",
    "compiled call: #{@arrays} in and out",
    "tracing: #{@arrays} in and out"
  ]

  def run(folder, wanted) do
    if wanted == [], do: calls()
    {build, submission} = HostTokens.compare(folder, wanted)
    IO.puts("build ratio: #{Table.format(build)}")
    IO.puts("host ratio: #{Table.format(submission)}")
  end

  defp calls do
    arrays = Mlx.eval(for _array <- 1..@arrays, do: Mlx.ones({8}))
    calls = [Mlx.compile(&first/1), Mlx.compile(&all/1), fn arrays -> Mlx.compile(&all/1).(arrays) end]
    ours = fn -> Enum.map(calls, &call(&1, arrays)) end
    {ours, theirs} = Rounds.compare("host.py", ["#{@arrays}", "#{@calls}"], @rounds, ours)
    Table.header("us, best median of #{@rounds} rounds", "Mlx")
    Table.print(@rows, ours, theirs)
  end

  defp call(fun, arrays) do
    Rounds.median(
      for _call <- 1..@calls do
        {us, results} = Rounds.time(fn -> fun.(arrays) end)
        Mlx.eval(results)
        us
      end
    )
  end

  defp first([array | _arrays]), do: Mlx.multiply(array, 0.5)
  defp all(arrays), do: Enum.map(arrays, &Mlx.multiply(&1, 0.5))
end

[folder | wanted] = System.argv()
Bench.Host.run(folder, wanted)
