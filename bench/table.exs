defmodule Bench.Table do
  @moduledoc false
  # What a benchmark prints: a row for each measurement, with both sides and their ratio.

  def header(title, ours, theirs \\ "Python"), do: IO.puts(row(title, [ours, theirs, "ratio"]))

  def print(names, ours, theirs) do
    for {name, us, py} <- Enum.zip([names, ours, theirs]) do
      IO.puts(row(name, [format(us), format(py), format(us / py)]))
    end
  end

  def format(number), do: :erlang.float_to_binary(number, decimals: 2)

  defp row(name, cells), do: String.pad_trailing(name, 40) <> Enum.map_join(cells, &String.pad_leading(&1, 12))
end
