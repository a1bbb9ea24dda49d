defmodule Mlx.Differential.Reductions do
  @moduledoc "Rows for reductions, scans and order."

  import Mlx.Differential.{Draw, Operands}
  import Mlx.Differential.Input, only: [of: 3, random: 2]

  alias Mlx.Differential.{Python, Row}

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
    logsumexp: "logsumexp"
  ]

  @typed_scans [cumulative_sum: "cumsum", cumulative_product: "cumprod"]
  @scans [cumulative_max: "cummax", cumulative_min: "cummin", cumulative_logsumexp: "logcumsumexp"]
  @sorts [sort: "sort", argsort: "argsort"]
  @ranked [partition: "partition", argpartition: "argpartition", top_k: "topk"]

  @doc "The rows."
  def rows do
    for({name, python} <- @reductions, do: Row.new(name, [share: 2], fn -> reduce(python) end)) ++
      for(
        {name, python} <- [variance: "var", standard_deviation: "std"],
        do: Row.new(name, fn -> deviation(python) end)
      ) ++
      for(name <- [:argmax, :argmin], do: Row.new(name, fn -> extreme("#{name}") end)) ++
      for({name, python} <- @typed_scans, do: Row.new(name, [share: 2], fn -> typed_scan(python) end)) ++
      for({name, python} <- @scans, do: Row.new(name, fn -> scan(python) end)) ++
      for({name, python} <- @sorts, do: Row.new(name, fn -> sort(python) end)) ++
      for({name, python} <- @ranked, do: Row.new(name, fn -> ranked(python) end)) ++
      [Row.new(:softmax, &softmax/0), Row.new(:diff, &diff/0), Row.new(:searchsorted, &searchsorted/0)] ++
      [Row.new(:minmax, fn -> reduce("minmax") end), Row.new(:unique, &unique/0)]
  end

  # Sometimes longer than what one thread or one vector reduces.
  defp reduced(python \\ "") do
    shape = one_of([shape(), shape(), shape(), {one_of(1000..3000)}, {3, one_of(200..700)}, {one_of(200..700), 3}])
    random("x", shape: shape, values: one_of([:any, :finite]), type: Mlx.Oracle.right_types(python, Mlx.Type.all()))
  end

  defp reduce(python) do
    x = reduced(python)
    {axes, keep} = {axes_option(x.shape), flag()}
    {[x, [axes: axes, keep_axes: keep]], Python.call("mx.#{python}", [x, axis: axes, keepdims: keep])}
  end

  defp unique do
    x = random("x", type: Mlx.Type.all() -- [:bool, :c64], values: :finite)
    {size, indices, inverse, counts} = {one_of(0..12), flag(), flag(), flag()}
    options = [indices: indices, inverse: inverse, counts: counts]
    asked = [return_index: indices, return_inverse: inverse, return_counts: counts]
    {[x, size, options ++ [fill_value: 7]], Python.call("mx.unique", [x, size] ++ asked ++ [fill_value: 7])}
  end

  defp deviation(python) do
    x = reduced()
    {axes, keep, ddof} = {axes_option(x.shape), flag(), one_of(0..2)}

    {[x, [axes: axes, keep_axes: keep, ddof: ddof]],
     Python.call("mx.#{python}", [x, axis: axes, keepdims: keep, ddof: ddof])}
  end

  defp extreme(python) do
    x = reduced()
    {axis, keep} = {axis_option(x.shape, nil), flag()}
    {[x, [axis: axis, keep_axis: keep]], Python.call("mx.#{python}", [x, axis: axis, keepdims: keep])}
  end

  defp typed_scan(python) do
    {x, options} = scanned(python)
    type = one_of([nil, nil, type()])
    {[x, options ++ [type: type]], Python.call("mx.#{python}", [x] ++ options ++ [dtype: type])}
  end

  defp scan(python) do
    {x, options} = scanned(python)
    {[x, options], Python.call("mx.#{python}", [x] ++ options)}
  end

  defp scanned(python) do
    x = reduced(python)
    {x, [axis: axis_option(x.shape, nil), reverse: flag(), inclusive: flag()]}
  end

  defp softmax do
    x = reduced("softmax")
    {axes, precise} = {axes_option(x.shape), flag()}
    {[x, [axes: axes, precise: precise]], Python.call("mx.softmax", [x, axis: axes, precise: precise])}
  end

  defp diff do
    x = random("x", shape: shape(rank: 1..3, empty: false))
    {order, axis} = {one_of(0..3), axis(x.shape)}
    {[x, [order: order, axis: axis]], Python.call("mx.diff", [x, n: order, axis: axis])}
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
end
