defmodule Mlx.Ops.ReductionTest do
  use ExUnit.Case, async: true

  import Mlx.Oracle
  alias Mlx.Samples

  @types [:bool, :u8, :s8, :s32, :s64, :f16, :bf16, :f32, :f64, :c64]

  @reductions [
    sum: "sum",
    product: "prod",
    mean: "mean",
    median: "median",
    reduce_max: "max",
    reduce_min: "min",
    all: "all",
    any: "any",
    count_nonzero: "count_nonzero",
    logsumexp: "logsumexp",
    variance: "var",
    standard_deviation: "std"
  ]

  # Options here and in Python.
  @axes [
    {[], ""},
    {[axes: 1], "axis=1"},
    {[axes: -1, keep_axes: true], "axis=-1, keepdims=True"},
    {[axes: [0, 2]], "axis=[0, 2]"},
    {[axes: []], "axis=[]"},
    {[keep_axes: true], "keepdims=True"}
  ]

  for {name, python} <- @reductions do
    @tag :oracle
    test "#{name}/2 is Python's #{python} for every type and choice of axes" do
      for type <- right_types(unquote(python), @types), {options, text} <- @axes do
        x = Samples.array({3, 4, 5}, type)
        python = in_f32("mx.#{unquote(python)}(x, #{text})", unquote(name), type)
        assert_oracle_or_raise(fn -> Mlx.unquote(name)(x, options) end, python, x: x)
      end
    end

    @tag :oracle
    test "#{name}/2 of no elements is Python's #{python}" do
      x = Mlx.zeros({0, 2})
      assert_oracle_or_raise(fn -> Mlx.unquote(name)(x) end, "mx.#{unquote(python)}(x)", x: x)
      assert_oracle_or_raise(fn -> Mlx.unquote(name)(x, axes: 0) end, "mx.#{unquote(python)}(x, axis=0)", x: x)
    end

    test "#{name}/2 names itself in errors" do
      x = Mlx.zeros({2, 2})
      assert_raise Mlx.Error, ~r/^Mlx.#{unquote(name)}: /, fn -> Mlx.unquote(name)(x, axes: 5) end
      assert_raise Mlx.Error, ~r/^Mlx.#{unquote(name)}: /, fn -> Mlx.unquote(name)(x, axes: [0, 0]) end
      assert_raise ArgumentError, ~r/^Mlx.#{unquote(name)}: /, fn -> Mlx.unquote(name)(x, axes: :first) end

      assert_raise ArgumentError, ~r/^Mlx.#{unquote(name)}: unknown option :axis/, fn ->
        Mlx.unquote(name)(x, axis: 0)
      end
    end
  end

  for name <- [:variance, :standard_deviation] do
    @tag :oracle
    test "#{name}/2 with delta degrees of freedom" do
      x = Samples.array({3, 4}, :f32)
      python = @reductions[unquote(name)]

      for {options, text} <- [{[], ""}, {[axes: 0], "axis=0, "}, {[axes: [0, 1]], "axis=[0, 1], "}] do
        assert_oracle(Mlx.unquote(name)(x, [ddof: 1] ++ options), "mx.#{python}(x, #{text}ddof=1)", x: x)
      end
    end
  end

  for name <- [:argmax, :argmin] do
    @tag :oracle
    test "#{name}/2 is Python's for every type" do
      for type <- @types -- [:c64] do
        x = Samples.array({3, 7}, type)
        assert_oracle(Mlx.unquote(name)(x), "mx.#{unquote(name)}(x)", x: x)
        assert_oracle(Mlx.unquote(name)(x, axis: 1), "mx.#{unquote(name)}(x, axis=1)", x: x)

        assert_oracle(
          Mlx.unquote(name)(x, axis: -2, keep_axis: true),
          "mx.#{unquote(name)}(x, axis=-2, keepdims=True)",
          x: x
        )
      end
    end

    test "#{name}/2 raises where there are no elements" do
      assert_raise Mlx.Error, ~r/^Mlx.#{unquote(name)}: /, fn -> Mlx.unquote(name)(Mlx.zeros({0})) end
    end
  end

  @tag :oracle
  test "softmax/2 is Python's softmax" do
    for type <- [:f16, :bf16, :f32, :s32],
        {options, text} <- [{[], ""}, {[axes: -1], "axis=-1"}, {[axes: [0, 2]], "axis=[0, 2]"}] do
      x = Samples.array({3, 4, 5}, type)
      assert_oracle(Mlx.softmax(x, options), in_f32("mx.softmax(x, #{text})", :softmax, type), x: x)
    end

    x = Samples.array({3, 40}, :bf16)
    assert_oracle(Mlx.softmax(x, axes: 1, precise: true), "mx.softmax(x, axis=1, precise=True)", x: x)
  end

  # Operations that Mlx computes in f32 for these types, where Python's own do not.
  defp in_f32(python, name, type) do
    cond do
      name in [:mean, :variance, :standard_deviation, :softmax] and type in [:f16, :bf16] ->
        "#{String.replace(python, "(x,", "(x.astype(mx.float32),")}.astype(x.dtype)"

      name in [:variance, :standard_deviation] and type in [:s32, :s64] ->
        String.replace(python, "(x,", "(x.astype(mx.float32),")

      true ->
        python
    end
  end

  @tag :oracle
  test "trace sums a diagonal of two axes" do
    x = Mlx.reshape(Mlx.arange(48), {3, 4, 4})
    assert_oracle(Mlx.trace(x), "mx.trace(x)", x: x)
    assert_oracle(Mlx.trace(x, offset: -1, axes: [-2, -1]), "mx.trace(x, -1, -2, -1)", x: x)
    assert_oracle(Mlx.trace(x, type: :f32), "mx.trace(x, dtype=mx.float32)", x: x)
    assert_raise ArgumentError, ~r/to be two axes/, fn -> Mlx.trace(x, axes: [0]) end
  end
end
