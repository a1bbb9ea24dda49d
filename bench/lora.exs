for file <- ["lora_sides.exs", "table.exs"], do: Code.require_file(file, __DIR__)

defmodule Bench.LoRA do
  @moduledoc false

  alias Bench.{LoRASides, Rounds, Table}

  @turn 5

  def run(arguments) do
    steps = arguments |> Enum.at(0, "25") |> String.to_integer()
    settings = [steps: steps, turn: @turn, batch_size: 4, max_length: 2048, validate: 0]
    {turns, _tuned} = LoRASides.in_folder(&LoRASides.run(&1, settings))
    report(turns)
  end

  # The first turn makes kernels.
  defp report([_first | turns]) do
    {ours, theirs} = Enum.unzip(turns)
    [mine, other] = for side <- [ours, theirs], do: columns(side)
    Table.header("LoRA of SmolLM2-135M", "Mlx", "mlx-lm")
    Table.print(["steps in a second", "processor seconds of a step", "most memory (MB)"], mine, other)
    IO.puts("memory ratio: #{Table.format(List.last(mine) / List.last(other))}")
    IO.puts("lora ratio: #{Table.format(Rounds.median(for {a, b} <- turns, do: b.seconds / a.seconds))}")
  end

  defp columns(side) do
    steps = @turn * length(side)
    sum = fn name -> Enum.sum_by(side, &Map.fetch!(&1, name)) end
    peak = side |> Enum.map(& &1.peak) |> Enum.max()
    [steps / sum.(:seconds), sum.(:processor) / steps, peak / 1.0e6]
  end
end

Bench.LoRA.run(System.argv())
