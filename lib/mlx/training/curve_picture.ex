defmodule Mlx.Training.CurvePicture do
  @moduledoc false
  # Curves as SVG.

  alias Mlx.Training.CurveScale

  @colours ~w(#1f77b4 #d62728 #2ca02c #9467bd #ff7f0e)
  @left 64
  @right 16
  @top 28
  @bottom 28
  @lines 4

  @doc "The text of a picture of curves."
  @spec svg([{atom(), [{number(), number()}]}], pos_integer(), pos_integer()) :: String.t()
  def svg(curves, width, height) do
    scale = CurveScale.of(curves)
    area = {width - @left - @right, height - @top - @bottom}
    coloured = curves |> Enum.zip(Stream.cycle(@colours)) |> Enum.with_index()

    IO.iodata_to_binary([
      ~s(<svg xmlns="http://www.w3.org/2000/svg" width="#{width}" height="#{height}" viewBox="0 0 #{width} #{height}" ),
      ~s(font-family="sans-serif" font-size="11">\n<rect width="100%" height="100%" fill="white"/>\n),
      for(line <- 0..@lines, do: grid(line / @lines, scale, area)),
      steps(scale, area),
      for({{{name, points}, colour}, index} <- coloured, do: curve(name, points, colour, index, scale, area)),
      "</svg>\n"
    ])
  end

  # A line across, with the value there.
  defp grid(place, %{values: {least, greatest}}, {width, height}) do
    y = number(@top + height * (1 - place))

    [
      ~s(<line x1="#{@left}" y1="#{y}" x2="#{@left + width}" y2="#{y}" stroke="#dddddd"/>\n),
      text(@left - 6, y, "end", CurveScale.text(least + (greatest - least) * place))
    ]
  end

  defp steps(%{steps: {first, last}}, {width, height}) do
    y = @top + height + 18
    [text(@left, y, "start", "#{first}"), text(@left + width, y, "end", "step #{last}")]
  end

  defp curve(name, points, colour, index, scale, area) do
    places = for point <- points, do: place(point, scale, area)

    [
      ~s(<polyline fill="none" stroke="#{colour}" stroke-width="1.5" points="#{Enum.map_join(places, " ", &pair/1)}"/>\n),
      for({x, y} <- places, length(places) < 50, do: ~s(<circle cx="#{x}" cy="#{y}" r="2" fill="#{colour}"/>\n)),
      ~s(<text x="#{@left + 110 * index}" y="16" fill="#{colour}">#{escaped(name)}</text>\n)
    ]
  end

  defp place({step, value}, scale, {width, height}) do
    x = @left + width * CurveScale.place(step, scale.steps)
    y = @top + height * (1 - CurveScale.place(value, scale.values))
    {number(x), number(y)}
  end

  defp pair({x, y}), do: "#{x},#{y}"

  defp text(x, y, anchor, text), do: ~s(<text x="#{x}" y="#{y}" text-anchor="#{anchor}" fill="#444444">#{text}</text>\n)

  defp number(number), do: :erlang.float_to_binary(number * 1.0, decimals: 1)

  defp escaped(name) do
    for <<character::utf8 <- to_string(name)>>, into: "" do
      case character do
        ?< -> "&lt;"
        ?& -> "&amp;"
        other -> <<other::utf8>>
      end
    end
  end
end
