defmodule Mlx.Training.CurveText do
  @moduledoc false
  # Curves as text.

  alias Mlx.Training.CurveScale

  @marks ~w(* o x + #)

  @doc "The text of curves, without a newline at its end."
  @spec text([{atom(), [{number(), number()}]}], pos_integer(), pos_integer()) :: String.t()
  def text(curves, width, height) do
    scale = CurveScale.of(curves)
    marked = Enum.zip(curves, Stream.cycle(@marks))

    cells =
      for {{_name, points}, mark} <- marked, point <- points, into: %{}, do: {cell(point, scale, width, height), mark}

    {least, greatest} = scale.values
    labels = %{0 => CurveScale.text(greatest), (height - 1) => CurveScale.text(least)}
    margin = labels |> Map.values() |> Enum.map(&String.length/1) |> Enum.max()

    rows =
      for row <- 0..(height - 1), do: String.pad_leading(labels[row] || "", margin) <> " |" <> row(cells, row, width)

    Enum.join(rows ++ below(marked, scale, margin), "\n")
  end

  defp cell({step, value}, scale, width, height) do
    row = round((1 - CurveScale.place(value, scale.values)) * (height - 1))
    {row, round(CurveScale.place(step, scale.steps) * (width - 1))}
  end

  defp row(cells, row, width) do
    for(column <- 0..(width - 1), do: cells[{row, column}] || " ") |> Enum.join() |> String.trim_trailing()
  end

  defp below(marked, %{steps: {first, last}}, margin) do
    blank = String.duplicate(" ", margin + 2)
    names = Enum.map_join(marked, "  ", fn {{name, _points}, mark} -> "#{mark} #{name}" end)
    [blank <> "#{first} to #{last}", blank <> names]
  end
end
