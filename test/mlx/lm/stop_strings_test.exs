defmodule Mlx.LM.StopStringsTest do
  use ExUnit.Case, async: true

  alias Mlx.LM.StopStrings

  doctest StopStrings

  # All text that a search gives for the pieces, and whether it stopped.
  defp run(strings, pieces) do
    pieces
    |> Enum.reduce_while({:continue, "", StopStrings.new(strings)}, fn piece, {:continue, given, stop} ->
      case StopStrings.push(stop, piece) do
        {:continue, text, stop} -> {:cont, {:continue, given <> text, stop}}
        {:stop, text} -> {:halt, {:stop, given <> text}}
      end
    end)
    |> case do
      {:continue, given, stop} -> {:end, given <> StopStrings.flush(stop)}
      stopped -> stopped
    end
  end

  test "finds a string wherever the text is cut" do
    text = "Grüße\n\nUser: no"

    for first <- 0..byte_size(text), second <- first..byte_size(text) do
      pieces = [
        binary_part(text, 0, first),
        binary_part(text, first, second - first),
        binary_part(text, second, byte_size(text) - second)
      ]

      assert run(["\n\nUser:", "xyz"], pieces) == {:stop, "Grüße"}
      assert run(["\n\nUsers"], pieces) == {:end, text}
    end
  end

  test "stops at the first of several strings" do
    assert run(["c", "b"], ["abc"]) == {:stop, "a"}
  end

  test "gives text at once when it can't be the start of a string" do
    assert {:continue, "abc", _stop} = StopStrings.push(StopStrings.new(["xy"]), "abc")
    assert {:continue, "abc", _stop} = StopStrings.push(StopStrings.new([]), "abc")
  end

  test "holds back what repeats the start of a string" do
    assert run(["aab"], ["a", "a", "a", "b", "c"]) == {:stop, "a"}
  end

  for strings <- [[""], "END", [1], nil] do
    test "refuses #{inspect(strings)}" do
      assert_raise ArgumentError, ~r/:stop/, fn -> StopStrings.new(unquote(strings)) end
    end
  end
end
