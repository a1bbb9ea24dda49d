defmodule Mlx.Native.MessagesTest do
  # What native functions say of arguments that they do not take.
  use ExUnit.Case, async: true

  alias Mlx.Native

  test "terms are written as Elixir writes them" do
    for term <- [
          "x",
          "é\"\\\n\#{1}",
          <<255, 1>>,
          :a,
          :"a b",
          Mlx.Array,
          {1, 2.5, :a, nil},
          [],
          [1 | 2],
          [axes: 1, keep_axes: true],
          [{:a, 1}, 3],
          %{a: 1.0e-7},
          %{"a" => [1.0e300, -0.0, 100_000.0]}
        ] do
      assert message(fn -> Native.add(term, 1, nil) end) =~
               "Mlx.add: expected an Mlx.Array or a number, got: #{inspect(term)}"
    end

    assert message(fn -> Native.sum_axes(1, [:a], false, nil) end) ==
             "Mlx.sum: expected an integer of 32 bits, got: :a"

    assert message(fn -> Native.sum_axes(1, 1.5, false, nil) end) ==
             "Mlx.sum: expected a list or tuple, got: 1.5"
  end

  test "long terms are cut, between characters" do
    for term <- [Enum.to_list(1..100_000), String.duplicate("é", 100_000), :binary.copy(<<255>>, 100_000)] do
      message = message(fn -> Native.add(term, 1, nil) end)
      assert String.valid?(message)
      assert String.length(message) < 300
      assert message =~ "..."
    end
  end

  test "arrays are written by type and shape" do
    assert message(fn -> Native.sum_axes(1, Native.zeros({2, 3}, :f32, nil), false, nil) end) ==
             "Mlx.sum: expected a list or tuple, got: #Mlx.Array<f32[2][3]>"
  end

  test "what makes an array of the term is said" do
    array = Native.zeros({2}, :f32, nil)

    for {term, hint} <- [
          {[1, 2], "; Mlx.array/1 makes an array of a list"},
          {1..2, "; Mlx.array/1 makes an array of a range"},
          {[array, array], "; Mlx.stack/1 makes one array of a list of arrays"},
          {[axes: 1], "; options come after all other arguments"}
        ],
        call <- [&Native.add(array, &1, nil), &Native.item/1, &Native.stack([&1], nil)] do
      assert String.ends_with?(message(fn -> call.(term) end), hint)
    end
  end

  test "nil is a wrong argument where an array is needed" do
    for call <- [&Native.add(nil, &1, nil), &Native.matmul(&1, nil, nil), &Native.sum(nil, &1 == 0, nil)] do
      assert message(fn -> call.(1) end) =~ ~r/^Mlx\.\w+: expected an Mlx\.Array or a number, got: nil$/
    end
  end

  defp message(call), do: Exception.message(assert_raise(ArgumentError, call))
end
