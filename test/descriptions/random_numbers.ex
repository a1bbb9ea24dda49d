defmodule Mlx.Descriptions.RandomNumbers do
  @moduledoc """
  `Mlx.Random`: with a key, the values are Python's.

  `without_keys/0` are the same calls with the next key of the process.
  """

  use Mlx.Description, of: Mlx.Random

  import Mlx.Differential.Input, only: [of: 3, random: 2]

  alias Mlx.Conformance.Creation
  alias Mlx.Differential.PlainCall

  @types [:f32, :f32, :f16, :bf16]
  @key array({2}, :u32)
  @shape_first "the shape comes first, the rest are options"
  @shape_option "the shape is an option"

  @doc "The descriptions."
  def operations do
    for({function, draw, fields} <- drawn_from_a_key(), do: drawn(function, draw, fields)) ++
      [
        operation(:key,
          python: python("random.key", seed: :integer),
          no_gradient: "gives no fractions",
          draw: &key/0
        ),
        operation(:split,
          python:
            python("random.split", [key: :array, num: option(:integer, :parts)], note: "num is the option :parts"),
          no_gradient: "gives no fractions",
          draw: &split/0
        ),
        operation(:bits,
          examples: [random_bits: [[[4, 4], 4, @key, nil]]],
          not_drawn: "Python has none"
        )
      ]
  end

  @doc "Descriptions of calls that take the next key of the process."
  def without_keys do
    for {function, draw, _fields} <- drawn_from_a_key(), do: operation(function, draw: fn -> draw.([]) end)
  end

  defp drawn_from_a_key do
    [
      {:uniform, &uniform/1,
       python:
         python(
           "random.uniform",
           [low: option(:operand, :low), high: option(:operand, :high)] ++ shape_parameter() ++ typed(),
           note: @shape_first
         ),
       without_options: plain([{2, 3}], "uniform(shape=(2, 3), ")},
      {:normal, &normal/1,
       python:
         python(
           "random.normal",
           shape_and_type() ++ [loc: option(:operand, :loc), scale: option(:operand, :scale)] ++ keyed(),
           note: @shape_first
         ),
       examples: [
         random_normal_broadcast: [
           [[4, 4], :f32, array({4, 4}), array({4, 4}), @key, nil],
           [[2, 3], :f32, nil, nil, @key, nil]
         ]
       ],
       without_options: plain([{2, 3}], "normal((2, 3), ")},
      {:multivariate_normal, &multivariate_normal/1,
       python:
         python("random.multivariate_normal", [mean: :array, cov: :array] ++ optional_shape() ++ typed(),
           note: @shape_option
         ),
       examples: [random_multivariate_normal: [[array({3}), array({3, 3}), [2], :f32, @key, nil]]],
       no_gradient: "MLX has none"},
      {:randint, &randint/1,
       python:
         python("random.randint", [low: :operand, high: :operand] ++ optional_shape() ++ typed(),
           note:
             "the shape is an option; Python's sequence leaves out most of more than 2^24 integers, and `exact: true` none"
         ),
       examples: [random_randint: [[array({}, :s32, :zeros), array({}, :s32, :ones), [4, 4], :s32, @key, nil]]],
       no_gradient: "gives no fractions",
       without_options: plain([0, 10], "randint(0, 10, ")},
      {:bernoulli, &bernoulli/1,
       python:
         python("random.bernoulli", [p: default(:operand, 0.5)] ++ optional_shape() ++ keyed(),
           adapter: &Creation.bernoulli/3,
           note: "p is required; the shape is an option"
         ),
       examples: [random_bernoulli: [[array({4, 4}, :f32, :ones), [4, 4], @key, nil]]],
       no_gradient: "gives no fractions",
       without_options: plain([0.25], "bernoulli(0.25, ")},
      {:truncated_normal, &truncated_normal/1,
       python:
         python("random.truncated_normal", [lower: :operand, upper: :operand] ++ optional_shape() ++ typed(),
           note: @shape_option
         ),
       without_options: plain([-1, 2], "truncated_normal(-1, 2, ")},
      {:gumbel, &gumbel/1,
       python: python("random.gumbel", shape_and_type() ++ keyed(), note: @shape_first),
       no_gradient: "takes no array with fractions",
       without_options: plain([{2, 3}], "gumbel((2, 3), ")},
      {:laplace, &laplace/1,
       python:
         python(
           "random.laplace",
           shape_and_type() ++ [loc: option(:number, :loc), scale: option(:number, :scale)] ++ keyed(),
           note: @shape_first
         ),
       no_gradient: "takes no array with fractions",
       without_options: plain([{2, 3}], "laplace((2, 3), ")},
      {:categorical, &categorical/1,
       python:
         python(
           "random.categorical",
           [logits: :array, axis: option(:integer, :axis)] ++
             optional_shape() ++ [num_samples: option(:integer, :num_samples)] ++ keyed()
         ),
       examples: [random_categorical_shape: [[array({4, 5}), -1, [3, 4], @key, nil]]],
       no_gradient: "gives no fractions"},
      {:permutation, &permutation/1,
       python:
         python("random.permutation", [x: {:either, [:integer, :array]}, axis: option(:integer, :axis)] ++ keyed()),
       without_options: plain([7], "permutation(7, ")}
    ]
  end

  defp drawn(function, draw, fields) do
    operation(function, [share: 2, draw: fn -> draw.(key: a_key()) end] ++ fields)
  end

  defp plain(arguments, python), do: fn -> PlainCall.keyed(arguments, python) end
  defp shape_parameter, do: [shape: default(:shape, {})]
  defp shape_and_type, do: shape_parameter() ++ [dtype: option(:type, :type)]
  defp optional_shape, do: [shape: option(:shape, :shape)]
  defp keyed, do: [key: option(:array, :key)]
  defp typed, do: [dtype: option(:type, :type)] ++ keyed()

  defp call(function, arguments), do: Python.call("mx.random.#{function}", arguments)

  defp seed, do: one_of([one_of(0..1000), 2 ** 32, 2 ** 40 + 7, 2 ** 63 - 1])
  defp a_key, do: of("key", several(2, fn -> one_of(0..0xFFFFFFFF) end), :u32)

  defp key do
    seed = seed()
    {[seed], call("key", [seed])}
  end

  defp split do
    {key, parts} = {a_key(), one_of(1..5)}
    {[key, [parts: parts]], call("split", [key, parts])}
  end

  # A bound: a number, or an array that broadcasts to the shape.
  defp bound(name, shape, number),
    do: one_of([number, number, random(name, shape: beside(shape), type: :f32, values: :finite)])

  defp uniform(key) do
    {shape, type} = {shape(), one_of(@types)}
    {low, high} = {bound("low", shape, one_of([0, -1.5])), bound("high", shape, one_of([1, 2.5]))}
    {[shape, [low: low, high: high, type: type] ++ key], call("uniform", [low, high, shape, type] ++ key)}
  end

  defp normal(key) do
    {shape, type} = {shape(), one_of([:c64 | @types])}
    {loc, scale} = {bound("loc", shape, one_of([nil, 5, 0.5])), bound("scale", shape, one_of([nil, 0.1, 3]))}

    {[shape, [loc: loc, scale: scale, type: type] ++ key],
     call("normal", [shape, type, {:loc, loc}, {:scale, scale}] ++ key)}
  end

  defp multivariate_normal(key) do
    mean = random("mean", shape: {2}, type: :f32, values: :finite)
    covariance = of("cov", one_of([[[2.0, 0.5], [0.5, 1.0]], [[1.0, 0.0], [0.0, 4.0]]]), :f32)
    shape = one_of([{}, {3}, {2, 2}])
    {[mean, covariance, [shape: shape] ++ key], call("multivariate_normal", [mean, covariance, shape] ++ key)}
  end

  defp randint(key) do
    {shape, type} = {shape(), one_of([:s32, :s64, :u8, :u32, :s16])}
    {low, high} = {one_of([0, 3]), one_of([10, 100, random("high", shape: beside(shape), type: :s32, values: 20..90)])}
    {[low, high, [shape: shape, type: type] ++ key], call("randint", [low, high, shape, type] ++ key)}
  end

  defp bernoulli(key) do
    shape = shape()
    p = one_of([0.3, 0.9, random("p", shape: beside(shape), type: :f32, values: 0..1)])
    shape = if is_number(p), do: shape, else: one_of([nil, shape])

    {[p, if(shape, do: [shape: shape], else: []) ++ key],
     call("bernoulli", [p | if(shape || is_number(p), do: [shape], else: [])] ++ key)}
  end

  defp truncated_normal(key) do
    {shape, type} = {shape(), one_of(@types)}
    {low, high} = {bound("low", shape, -1), bound("high", shape, 2)}
    {[low, high, [shape: shape, type: type] ++ key], call("truncated_normal", [low, high, shape, type] ++ key)}
  end

  defp gumbel(key) do
    {shape, type} = {shape(), one_of(@types)}
    {[shape, [type: type] ++ key], call("gumbel", [shape, type] ++ key)}
  end

  defp laplace(key) do
    {shape, type, loc, scale} = {shape(), one_of(@types), one_of([0, 1.5]), one_of([1, 0.25])}

    {[shape, [loc: loc, scale: scale, type: type] ++ key],
     call("laplace", [shape, type, {:loc, loc}, {:scale, scale}] ++ key)}
  end

  defp categorical(key) do
    logits = random("x", shape: shape(rank: 1..3, empty: false), type: @types, values: :finite)
    axis = axis(logits.shape)
    size = one_of([[], [num_samples: one_of(1..4)]])
    {[logits, [axis: axis] ++ size ++ key], call("categorical", [logits, {:axis, axis}] ++ size ++ key)}
  end

  defp permutation(key) do
    if chance?(2) do
      n = one_of(1..40)
      {[n | [key]], call("permutation", [n | key])}
    else
      x = random("x", shape: shape(rank: 1..3, empty: false))
      axis = axis(x.shape)
      {[x, [axis: axis] ++ key], call("permutation", [x, {:axis, axis}] ++ key)}
    end
  end
end
