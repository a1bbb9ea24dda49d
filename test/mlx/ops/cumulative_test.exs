defmodule Mlx.Ops.CumulativeTest do
  use ExUnit.Case, async: true

  import Mlx.Oracle
  alias Mlx.Samples

  @operations [
    cumulative_sum: "cumsum",
    cumulative_product: "cumprod",
    cumulative_max: "cummax",
    cumulative_min: "cummin",
    cumulative_logsumexp: "logcumsumexp"
  ]

  @options [
    {[], ""},
    {[axis: 0], "axis=0"},
    {[axis: -1, reverse: true], "axis=-1, reverse=True"},
    {[axis: 1, inclusive: false], "axis=1, inclusive=False"},
    {[reverse: true, inclusive: false], "reverse=True, inclusive=False"}
  ]

  for {name, python} <- @operations do
    @tag :oracle
    test "#{name}/2 is Python's #{python}" do
      for type <- [:s32, :f16, :bf16, :f32], {options, text} <- @options do
        x = Samples.array({3, 4}, type)

        assert_oracle_or_raise(fn -> Mlx.unquote(name)(x, options) end, python("#{unquote(python)}(x, #{text})", type),
          x: x
        )
      end
    end
  end

  # Sums of 16 bits are added in f32.
  defp python("cumsum(x, " <> options, type) when type in [:f16, :bf16] do
    "mx.cumsum(x.astype(mx.float32), #{options}.astype(x.dtype)"
  end

  defp python(call, _type), do: "mx." <> call

  @tag :oracle
  test "sums and products can be made in another type" do
    x = Samples.array({6}, :u8)
    assert_oracle(Mlx.cumulative_sum(x, type: :f32), "mx.cumsum(x, dtype=mx.float32)", x: x)
    assert_oracle(Mlx.cumulative_product(x, axis: 0, type: {:s, 64}), "mx.cumprod(x, axis=0, dtype=mx.int64)", x: x)
  end

  @tag :oracle
  test "diff/2 is Python's diff" do
    x = Samples.array({4, 5}, :f32)
    assert_oracle(Mlx.diff(x), "mx.diff(x)", x: x)
    assert_oracle(Mlx.diff(x, order: 2, axis: 0), "mx.diff(x, n=2, axis=0)", x: x)
  end

  test "an axis that is not there" do
    assert_raise Mlx.Error, ~r/^Mlx.cumulative_sum: /, fn -> Mlx.cumulative_sum(Mlx.zeros({2}), axis: 3) end
  end
end
