defmodule Mlx.OperatorsTest do
  use ExUnit.Case, async: true
  use Mlx.Operators

  doctest Mlx.Operators

  # The operators of Kernel are left in guards and patterns.
  defp sign(x) when x > 0 and -x + 2 <= 0, do: :positive
  defp sign(-1), do: :minus_one
  defp sign(_x), do: :other

  defp odd?(x) when is_integer(x) and (x &&& 1) == 1 and max(x, 0) == x, do: true
  defp odd?(_x), do: false

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
          {x >= x, [true, true]},
          {max(x, 1.5), [1.5, 2.0]},
          {max(0, -x), [0.0, 0.0]},
          {min(x, 1.5), [1.0, 1.5]},
          {x |> min(1.5) |> max(1.25), [1.25, 1.5]},
          {x > 1 &&& x < 3, [false, true]},
          {x < 2 ||| x > 3, [true, false]},
          {~~~(x > 1), [true, false]}
        ] do
      assert Mlx.to_list(result) === list
    end

    assert Mlx.to_number(x <~> x) === 5.0
    assert Mlx.to_number((x <~> x) + 1) === 6.0
    assert Mlx.to_number((2 * x) <~> x) === 10.0
  end

  test "bits of arrays" do
    x = Mlx.array([1, 6])

    for {result, list} <- [
          {x &&& 3, [1, 2]},
          {8 ||| x, [9, 14]},
          {~~~x, [-2, -7]},
          {x <<< 2, [4, 24]},
          {x >>> 1, [0, 3]},
          {(1 + x) <<< 1, [4, 14]}
        ] do
      assert Mlx.to_list(result) === list
    end
  end

  test "NaN stays in the maximum of arrays" do
    assert [:nan, 2.0] = Mlx.to_list(max(Mlx.array([:nan, 2.0]), 0))
  end

  test "what is beside a matrix product in Python does not compile" do
    for {code, operator} <- [
          {"x <~> w + b", "+"},
          {"x <~> w - b", "-"},
          {"x <~> w * b", "*"},
          {"x <~> w / b", "/"},
          {"b + x <~> w", "+"},
          {"b - x <~> w", "-"},
          {"x <~> (w + b)", "+"},
          {"a <~> x + b <~> w", "+"}
        ] do
      message = ~r/nofile:1: #{Regex.escape(operator)} binds more than <~>, so .* is not what it is in Python/

      assert_raise CompileError, message, fn ->
        Code.compile_string("import Mlx.Operators, only: [<~>: 2]; fn a, b, x, w -> {a, b, x, w, #{code}} end")
      end
    end

    assert {fun, _} = Code.eval_string("import Mlx.Operators, only: [<~>: 2]; &<~>/2")
    assert Mlx.to_number(fun.(Mlx.array([1.0, 2.0]), Mlx.array([3.0, 4.0]))) == 11
    assert Mlx.to_number(Mlx.array([1.0, 2.0]) <~> -Mlx.array([3.0, 4.0])) == -11
    assert Mlx.to_number(Mlx.array([1.0, 2.0]) <~> (Mlx.array([3.0, 4.0]) ** 2)) == 41
  end

  test "other terms as in Kernel" do
    assert {1 + 2, 1 - 2, 3 * 2, 3 / 2, 2 ** 3, -(1 + 1)} === {3, -1, 6, 1.5, 8, -2}
    assert {1 == 1.0, :a != :b, 1 < 2, "a" <= "b", [2] > [1], 1 >= 2} === {true, true, true, true, true, false}
    assert Enum.map([2, 1, -1], &sign/1) === [:positive, :other, :minus_one]
    assert Enum.reduce([1, 2, 3], &+/2) === 6
    assert {max(1, 2.0), min(:a, "a"), 6 &&& 3, 6 ||| 1, ~~~6, 1 <<< 4, 16 >>> 2} === {2.0, :a, 2, 7, -7, 16, 4}
    assert Enum.map([3, 2, -1], &odd?/1) === [true, false, false]
    assert Enum.reduce([1, 3, 2], &max/2) === 3
    assert_raise ArithmeticError, fn -> 1 + String.to_atom("a") end
  end
end
