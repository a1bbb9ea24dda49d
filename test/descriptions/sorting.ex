defmodule Mlx.Descriptions.Sorting do
  @moduledoc "Order, places in an order, and differences of neighbours."

  use Mlx.Description

  import Mlx.Differential.Input, only: [of: 3, random: 2]
  import Mlx.Differential.Operands

  @whole "gives no fractions"

  @doc "The descriptions."
  def operations do
    flags = [return_inverse: option(:boolean, :inverse), return_counts: option(:boolean, :counts)]

    [
      operation(:sort, python: along("sort", []), without_options: :array, draw: fn -> sort("sort") end),
      operation(:argsort,
        python: along("argsort", []),
        no_gradient: @whole,
        without_options: :array,
        draw: fn -> sort("argsort") end
      ),
      operation(:partition, python: along("partition", kth: :integer), draw: fn -> ranked("partition") end),
      operation(:argpartition,
        python: along("argpartition", [kth: :integer], note: "kth is the second argument, axis an option"),
        no_gradient: @whole,
        draw: fn -> ranked("argpartition") end
      ),
      operation(:top_k, python: along("topk", k: :integer), draw: fn -> ranked("topk") end),
      operation(:searchsorted,
        python: python("searchsorted", sorted_sequence: :array, values: :array, side: option(:word, :side)),
        examples: [searchsorted: [[array({4}, :f32, :ones), array({3}), "left", nil]]],
        no_gradient: @whole,
        draw: &searchsorted/0
      ),
      operation(:unique,
        python:
          python(
            "unique",
            [a: :array, size: :integer, return_index: option(:boolean, :indices)] ++
              flags ++ [fill_value: option(:any, :fill_value)]
          ),
        # mlx-c 0.7 lacks it.
        kinds: [unique: ~w(array size flag flag flag optional_array stream)a],
        draw: &unique/0
      ),
      operation(:diff,
        python: python("diff", a: :array, n: option(:integer, :order), axis: option(:integer, :axis)),
        without_options: :array,
        draw: &diff/0
      )
    ]
  end

  defp along(name, parameters, options \\ []) do
    python(name, [a: :array] ++ parameters ++ [axis: nullable(:integer, :axis)], options)
  end

  defp sort(python) do
    x = reduced()
    axis = axis_option(x.shape, nil)
    {[x, [axis: axis]], Python.call("mx.#{python}", [x, axis: axis])}
  end

  defp ranked(python) do
    x = random("x", shape: shape(rank: 1..3, empty: false))
    axis = axis_option(x.shape, nil)
    size = if axis, do: size_along(x.shape, axis), else: Tuple.product(x.shape)
    rank = one_of(if(python == "topk", do: 1..size, else: -size..(size - 1)))
    {[x, rank, [axis: axis]], Python.call("mx.#{python}", [x, rank, {:axis, axis}])}
  end

  defp searchsorted do
    type = one_of([:u8, :s32, :s64, :f16, :bf16, :f32])
    elements = several(one_of(0..40), fn -> one_of(0..20) end) |> Enum.sort()
    {sorted, values} = {of("s", elements, type), random("v", values: :finite)}
    side = one_of([:left, :right])
    {[sorted, values, [side: side]], Python.call("mx.searchsorted", [sorted, values, side: side])}
  end

  defp unique do
    x = random("x", type: Mlx.Type.all() -- [:bool, :c64], values: :finite)
    {size, indices, inverse, counts} = {one_of(0..12), flag(), flag(), flag()}
    options = [indices: indices, inverse: inverse, counts: counts]
    asked = [return_index: indices, return_inverse: inverse, return_counts: counts]
    {[x, size, options ++ [fill_value: 7]], Python.call("mx.unique", [x, size] ++ asked ++ [fill_value: 7])}
  end

  defp diff do
    x = random("x", shape: shape(rank: 1..3, empty: false))
    {order, axis} = {one_of(0..3), axis(x.shape)}
    {[x, [order: order, axis: axis]], Python.call("mx.diff", [x, n: order, axis: axis])}
  end
end
