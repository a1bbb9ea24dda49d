for file <- ["rounds.exs", "table.exs"], do: Code.require_file(file, __DIR__)

defmodule Bench.Loop do
  @moduledoc false
  # A loop with a branch in it. Python's asks for its condition each time, around a compiled body.

  import Nx.Defn

  alias Bench.{Rounds, Table}

  @rounds 10
  @count 200

  defn run_loop(x) do
    {_, x} =
      while {i = 0, x}, i < @count do
        {i + 1, if(Nx.remainder(i, 2) == 0, do: x + 1, else: x - 1)}
      end

    x
  end

  def run do
    x = Nx.broadcast(Nx.tensor(0.0, backend: Mlx.Backend), {10, 10})
    loop = Nx.Defn.compile(&run_loop/1, [x], compiler: Mlx)

    arguments = Enum.map([@count, Rounds.repetitions()], &Integer.to_string/1)

    {ours, theirs} =
      Rounds.compare("loop.py", arguments, @rounds, fn -> Rounds.best_repetition(fn -> [time(loop, x) / @count] end) end)

    Table.print(["round of a loop with a branch"], ours, theirs)
  end

  defp time(loop, x) do
    {us, _binary} = Rounds.time(fn -> x |> loop.() |> Nx.to_binary() end)
    us
  end
end
