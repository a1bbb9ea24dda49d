defmodule Mlx.Training.CurveTest do
  use ExUnit.Case, async: true

  alias Mlx.Training.Curve

  doctest Mlx.Training.Curve

  test "a picture has a line for each curve" do
    svg = Curve.to_svg(training: [{1, 4.0}, {2, :nan}, {3, 2.0}], "a < b & c": [{3, 3.0}])
    lines = for [_all, points] <- Regex.scan(~r/<polyline .*points="(.*)"/, svg), do: points
    # The first curve begins at the top on the left, and ends at the bottom on the right.
    assert lines == ["64.0,28.0 624.0,372.0", "624.0,200.0"]
    assert svg =~ ">a &lt; b &amp; c</text>"
    assert svg =~ ">2.000</text>" and svg =~ ">4.000</text>" and svg =~ ">step 3</text>"
  end

  test "curves without points, or with one, are drawn" do
    for curves <- [[], [loss: []], [loss: [{1, 2.0}]], [loss: [{1, :nan}]], [loss: [{1, 0.0}, {2, 0.0}]]] do
      assert Curve.to_svg(curves) =~ "</svg>"
      assert Curve.to_text(curves) =~ " |"
    end
  end

  test "text has a mark for each curve, and the ends of the axes" do
    text = Curve.to_text([training: [{1, 1.0e-4}, {9, 2.0e6}], validation: [{5, 1.0e6}]], width: 9, height: 3)

    assert String.split(text, "\n") == [
             "2.00e+06 |        *",
             "         |    o",
             "1.00e-04 |*",
             "          1 to 9",
             "          * training  o validation"
           ]
  end

  test "wrong arguments say what was expected" do
    message = ~r/^Mlx.Training.Curve.to_svg: expected a keyword list of curves, .* got: \[1.0, 2.0\]/
    assert_raise ArgumentError, message, fn -> Curve.to_svg([1.0, 2.0]) end
    message = "Mlx.Training.Curve.to_text: expected :width to be an integer of at least 2, got: 0"
    assert_raise ArgumentError, message, fn -> Curve.to_text([], width: 0) end
  end
end
