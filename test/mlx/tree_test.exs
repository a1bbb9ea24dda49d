defmodule Mlx.TreeTest do
  use ExUnit.Case, async: true

  doctest Mlx.Tree

  test "walks improper lists, keyword lists and maps with any keys" do
    [a, b, c] = for n <- 1..3, do: Mlx.array(n)
    assert Mlx.Tree.arrays([a | b]) == [a, b]
    assert Mlx.Tree.arrays(x: a, y: {b, c}) == [a, b, c]
    assert Mlx.Tree.arrays(%{2 => b, 1 => a, "z" => c}) == [a, b, c]
    assert Mlx.Tree.arrays(:leaf) == []
  end
end
