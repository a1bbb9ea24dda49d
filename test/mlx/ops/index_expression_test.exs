defmodule Mlx.Ops.IndexExpressionTest do
  use ExUnit.Case, async: true

  alias Mlx.Ops.IndexExpression

  @shape {4, 5, 6}

  describe "parse" do
    test "resolves integers and ranges" do
      assert [{:integer, 3}, {:slice, 1, 2, 2}, {:slice, 0, 1, 6}] = IndexExpression.parse([-1, 1..4//2], @shape)
      assert [{:slice, 3, -1, 4}, _, _] = IndexExpression.parse(-1..0//-1, @shape)
      assert [{:slice, 2, -2, 2}, _, _] = IndexExpression.parse([2..0//-2], @shape)
      assert [{:slice, 0, 1, 0}, _, _] = IndexExpression.parse([2..1//1], @shape)
    end

    test "puts the axes that are not mentioned in place of the ellipsis" do
      assert [{:integer, 0}, {:slice, 0, 1, 5}, {:integer, 1}] = IndexExpression.parse([0, :..., 1], @shape)
      assert [{:slice, 0, 1, 4}, {:slice, 0, 1, 5}, {:integer, 2}] = IndexExpression.parse([:..., 2], @shape)

      assert [{:integer, 0}, :new_axis, {:integer, 1}, {:integer, 2}] =
               IndexExpression.parse([0, :new_axis, 1, :..., 2], @shape)

      assert [] = IndexExpression.parse([:...], {})
    end

    test "says what is wrong" do
      for {index, message} <- [
            {4, ~r/index 4 is out of bounds for axis 0 of size 4/},
            {[.., -6], ~r/index -6 is out of bounds for axis 1 of size 5/},
            {[0, 0, 0, 0], ~r/too many indices/},
            {[:..., 0, :...], ~r/one ellipsis/},
            {:all, ~r/expected an index/},
            {nil, ~r/expected an index/},
            {1.5, ~r/expected an index/},
            {"a", ~r/expected an index/},
            {{0, 1}, ~r/expected an index/},
            {[[0, 4]], ~r/index 4 is out of bounds for axis 0/},
            {[[0, 1.5]], ~r/hold integers/},
            {[[true, false]], ~r/hold integers/},
            {[[[0, 1], [2]]], ~r/one length/}
          ] do
        assert_raise ArgumentError, message, fn -> IndexExpression.parse(index, @shape) end
      end
    end

    test "catches the range 1..-1, which has no elements in Elixir" do
      assert_raise ArgumentError, ~r/did you mean 1\.\.-1\/\/1/, fn ->
        IndexExpression.parse(Range.new(1, -1, -1), @shape)
      end
    end
  end

  test "layout puts gathered axes where the first array stood, or in front" do
    array = Mlx.array([0, 1])
    assert [{:slice, 0, 4}, :gathered] = IndexExpression.layout(IndexExpression.parse([.., array, array], @shape))
    assert [:gathered, {:slice, 1, 5}] = IndexExpression.layout(IndexExpression.parse([array, .., array], @shape))
    assert [:gathered, {:slice, 1, 5}] = IndexExpression.layout(IndexExpression.parse([0, .., array], @shape))
    assert [{:slice, 0, 4}, :gathered] = IndexExpression.layout(IndexExpression.parse([.., 0, array], @shape))

    assert [:gathered, :new_axis, {:slice, 2, 6}] =
             IndexExpression.layout(IndexExpression.parse([array, :new_axis, array], @shape))

    assert [:new_axis, :gathered, {:slice, 1, 5}, {:slice, 2, 6}] =
             IndexExpression.layout(IndexExpression.parse([:new_axis, array], @shape))
  end
end
