defmodule Mlx.Ops.SortingTest do
  use ExUnit.Case, async: true

  import Mlx.Oracle
  alias Mlx.Samples

  @types [:bool, :u8, :s32, :s64, :f16, :bf16, :f32, :f64]

  for name <- [:sort, :argsort] do
    @tag :oracle
    test "#{name}/2 is Python's for every type" do
      for type <- @types, {options, text} <- [{[], ""}, {[axis: 0], "axis=0"}, {[axis: nil], "axis=None"}] do
        x = Samples.array({4, 9}, type, special: true)
        assert_oracle(Mlx.unquote(name)(x, options), "mx.#{unquote(name)}(x, #{text})", x: x)
      end
    end
  end

  for {name, python} <- [partition: "partition", argpartition: "argpartition", top_k: "topk"] do
    @tag :oracle
    test "#{name}/3 is Python's #{python}" do
      for type <- @types, {options, text} <- [{[], ""}, {[axis: 0], "axis=0"}, {[axis: nil], "axis=None"}] do
        x = Samples.array({4, 9}, type)
        assert_oracle(Mlx.unquote(name)(x, 2, options), "mx.#{unquote(python)}(x, 2, #{text})", x: x)
      end
    end

    test "#{name}/3 refuses a place that is not there" do
      assert_raise Mlx.Error, ~r/^Mlx.#{unquote(name)}: /, fn -> Mlx.unquote(name)(Mlx.zeros({3}), 7) end
    end
  end

  test "the last of argpartition/3 are the indices of top_k/2" do
    x = Samples.array({50}, :f32)
    indices = Mlx.to_list(Mlx.argpartition(x, -5)) |> Enum.take(-5)
    elements = Mlx.to_list(x)

    assert indices |> Enum.map(&Enum.at(elements, &1)) |> Enum.sort() ==
             x |> Mlx.top_k(5) |> Mlx.to_list() |> Enum.sort()
  end

  @tag :oracle
  test "searchsorted/3 is Python's searchsorted" do
    sorted = Mlx.sort(Samples.array({20}, :s32))
    values = Samples.array({3, 5}, :s32, seed: 1)
    assert_oracle(Mlx.searchsorted(sorted, values), "mx.searchsorted(s, v)", s: sorted, v: values)

    assert_oracle(Mlx.searchsorted(sorted, values, side: :right), "mx.searchsorted(s, v, side='right')",
      s: sorted,
      v: values
    )
  end

  test "searchsorted/3 knows two sides" do
    assert_raise ArgumentError, "Mlx.searchsorted: expected :side to be :left or :right, got: :middle", fn ->
      Mlx.searchsorted(Mlx.array([1, 2]), Mlx.array([1]), side: :middle)
    end
  end
end
