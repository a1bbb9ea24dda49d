defmodule Mlx.Training.Curve do
  @moduledoc """
  Curves of a training, as a picture and as text.

  A curve is a list of points `{step, value}`. Several of them, a keyword list, share their axes, as
  `Mlx.Training.curve/1` gives them:

      iex> curves = [training: [{1, 4.0}, {2, 2.0}, {3, 1.0}], validation: [{3, 1.5}]]
      iex> "<svg" <> _ = Mlx.Training.Curve.to_svg(curves)

  Values that are not finite, the atoms `:nan`, `:infinity` and `:neg_infinity`, are left out.

  Python: none.
  """

  use Mlx.Arguments.Mismatch

  alias Mlx.Arguments.{Given, Options}
  alias Mlx.Training.{CurvePicture, CurveText}

  @typedoc "Curves by their names."
  @type curves :: [{atom(), [{number(), number() | atom()}]}]

  @doc """
  A picture: the text of an SVG file.

  Options:

    * `:width`, `:height` - in pixels, integers of at least 100, default 640 and 400

  Examples:

      iex> svg = Mlx.Training.Curve.to_svg([loss: [{1, 4.0}, {2, 2.0}]], width: 300)
      iex> {svg =~ ~s(width="300"), svg =~ "<polyline", svg =~ "loss"}
      {true, true, true}

  Python: none.
  """
  @spec to_svg(curves(), keyword()) :: String.t()
  def to_svg(curves, options \\ []) do
    [width, height] = Options.without_stream(options, :"Training.Curve.to_svg", width: 640, height: 400)
    for {name, size} <- [width: width, height: height], do: check_size!(size, 100, name, "to_svg")
    curves |> finite!("to_svg") |> CurvePicture.svg(width, height)
  end

  @doc """
  Text for a terminal, with a mark for each point.

  Options:

    * `:width`, `:height` - in characters, integers of at least 2, default 60 and 12

  Examples:

      iex> Mlx.Training.Curve.to_text([loss: [{0, 2.0}, {1, 1.0}, {2, 0.0}]], width: 5, height: 3) |> String.split("\\n")
      ["2.000 |*", "      |  *", "0.000 |    *", "       0 to 2", "       * loss"]

  Python: none.
  """
  @spec to_text(curves(), keyword()) :: String.t()
  def to_text(curves, options \\ []) do
    [width, height] = Options.without_stream(options, :"Training.Curve.to_text", width: 60, height: 12)
    for {name, size} <- [width: width, height: height], do: check_size!(size, 2, name, "to_text")
    curves |> finite!("to_text") |> CurveText.text(width, height)
  end

  defp check_size!(size, least, name, function) do
    if not (is_integer(size) and size >= least) do
      raise ArgumentError,
            "Mlx.Training.Curve.#{function}: expected :#{name} to be an integer of at least #{least}, got: #{Given.text(size)}"
    end
  end

  defp finite!(curves, function) do
    if not (Keyword.keyword?(curves) and Enum.all?(curves, fn {_name, points} -> points?(points) end)) do
      raise ArgumentError,
            "Mlx.Training.Curve.#{function}: expected a keyword list of curves, which are lists of points {step, value}, " <>
              "got: #{Given.text(curves)}"
    end

    for {name, points} <- curves, do: {name, Enum.filter(points, fn {_step, value} -> is_number(value) end)}
  end

  defp points?(points) do
    Mlx.Arguments.ArgumentType.list?(points) and
      Enum.all?(points, &match?({step, value} when is_number(step) and (is_number(value) or is_atom(value)), &1))
  end
end
