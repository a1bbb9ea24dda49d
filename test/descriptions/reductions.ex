defmodule Mlx.Descriptions.Reductions do
  @moduledoc "Reductions and scans."

  use Mlx.Description

  import Mlx.Differential.Operands

  @reductions [
    sum: "sum array.sum",
    product: "prod array.prod",
    mean: "mean array.mean",
    median: "median",
    reduce_max: "max array.max",
    reduce_min: "min array.min",
    logsumexp: "logsumexp array.logsumexp"
  ]

  @reductions_to_whole [all: "all array.all", any: "any array.any", count_nonzero: "count_nonzero"]

  @typed_scans [
    cumulative_sum: "cumsum cumulative_sum array.cumsum",
    cumulative_product: "cumprod cumulative_prod array.cumprod"
  ]

  @scans [
    cumulative_max: "cummax array.cummax",
    cumulative_min: "cummin array.cummin",
    cumulative_logsumexp: "logcumsumexp array.logcumsumexp"
  ]

  @whole "gives no fractions"

  @doc "The descriptions."
  def operations do
    for({name, python} <- @reductions, do: reduction(name, python)) ++
      for({name, python} <- @reductions_to_whole, do: reduction(name, python, no_gradient: @whole)) ++
      for({name, python} <- [variance: "var", standard_deviation: "std"], do: deviation(name, python)) ++
      for(name <- [:argmax, :argmin], do: extreme(name, "#{name}")) ++
      for({name, python} <- @typed_scans, do: typed_scan(name, python)) ++
      for({name, python} <- @scans, do: scan(name, python)) ++
      [
        operation(:minmax, python: over_axes("minmax"), draw: fn -> reduce("minmax") end),
        operation(:softmax,
          python:
            python("softmax", [a: :array, axis: option(:axes, :axes), precise: option(:boolean, :precise)],
              note: "axis is the option :axes"
            ),
          without_options: :array,
          draw: &softmax/0
        )
      ]
  end

  defp reduction(name, python, fields \\ []) do
    operation(
      name,
      [
        python: over_axes(python, note: "axis and keepdims are the options :axes and :keep_axes"),
        share: 2,
        without_options: :array,
        draw: fn -> reduce(first(python)) end
      ] ++ fields
    )
  end

  defp over_axes(names, options \\ []) do
    python(names, [a: :array, axis: option(:axes, :axes), keepdims: option(:boolean, :keep_axes)], options)
  end

  defp deviation(name, python) do
    parameters = [axis: option(:axes, :axes), keepdims: option(:boolean, :keep_axes), ddof: option(:integer, :ddof)]
    note = "axis, keepdims and ddof are the options :axes, :keep_axes and :ddof"

    operation(name,
      python: python("#{python} array.#{python}", [a: :array] ++ parameters, note: note),
      without_options: :array,
      draw: fn -> deviation(python) end
    )
  end

  defp extreme(name, python) do
    parameters = [a: :array, axis: option(:integer, :axis), keepdims: option(:boolean, :keep_axis)]
    note = "axis and keepdims are the options :axis and :keep_axis"

    operation(name,
      python: python("#{python} array.#{python}", parameters, note: note),
      without_options: :array,
      draw: fn -> extreme(python) end,
      no_gradient: @whole
    )
  end

  defp typed_scan(name, names) do
    operation(name,
      python: python(names, scanned_parameters() ++ [dtype: option(:type, :type)]),
      share: 2,
      without_options: :array,
      draw: fn -> typed_scan(first(names)) end
    )
  end

  defp scan(name, names) do
    operation(name,
      python: python(names, scanned_parameters()),
      without_options: :array,
      draw: fn -> scan(first(names)) end
    )
  end

  defp scanned_parameters do
    [a: :array, axis: option(:integer, :axis)] ++
      [reverse: option(:boolean, :reverse), inclusive: option(:boolean, :inclusive)]
  end

  defp first(names), do: names |> String.split() |> hd()

  defp reduce(python) do
    x = reduced(python)
    {axes, keep} = {axes_option(x.shape), flag()}
    {[x, [axes: axes, keep_axes: keep]], Python.call("mx.#{python}", [x, axis: axes, keepdims: keep])}
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
end
