defmodule Mlx.OperatorsTest do
  use ExUnit.Case, async: true
  use Mlx.Operators

  doctest Mlx.Operators

  # The operators of Kernel are left in guards and patterns.
  defp sign(x) when x > 0 and -x + 2 <= 0, do: :positive
  defp sign(-1), do: :minus_one
  defp sign(_x), do: :other

  test "arrays and numbers in any order" do
    x = Mlx.array([1.0, 2.0])

    for {result, list} <- [
          {x + 1, [2.0, 3.0]},
          {1 - x, [0.0, -1.0]},
          {x * x, [1.0, 4.0]},
          {2 / x, [2.0, 1.0]},
          {x ** 3, [1.0, 8.0]},
          {-x, [-1.0, -2.0]},
          {x == 2, [false, true]},
          {x != 2, [true, false]},
          {x < 2, [true, false]},
          {x <= 1, [true, false]},
          {1 > x, [false, false]},
          {x >= x, [true, true]}
        ] do
      assert Mlx.to_list(result) === list
    end

    assert Mlx.to_number(x <~> x) === 5.0
  end

  test "other terms as in Kernel" do
    assert {1 + 2, 1 - 2, 3 * 2, 3 / 2, 2 ** 3, -(1 + 1)} === {3, -1, 6, 1.5, 8, -2}
    assert {1 == 1.0, :a != :b, 1 < 2, "a" <= "b", [2] > [1], 1 >= 2} === {true, true, true, true, true, false}
    assert Enum.map([2, 1, -1], &sign/1) === [:positive, :other, :minus_one]
    assert Enum.reduce([1, 2, 3], &+/2) === 6
    assert_raise ArithmeticError, fn -> 1 + String.to_atom("a") end
  end
end
