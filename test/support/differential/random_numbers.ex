defmodule Mlx.Differential.RandomNumbers do
  @moduledoc """
  Rows for `Mlx.Random`: with a key, the values are Python's.

  `without_keys/0` are the same calls with the next key of the process.
  """

  import Mlx.Differential.Draw
  import Mlx.Differential.Input, only: [of: 3, random: 2]

  alias Mlx.Differential.{Python, Row}

  @types [:f32, :f32, :f16, :bf16]

  @draws [
    uniform: &__MODULE__.uniform/1,
    normal: &__MODULE__.normal/1,
    multivariate_normal: &__MODULE__.multivariate_normal/1,
    randint: &__MODULE__.randint/1,
    bernoulli: &__MODULE__.bernoulli/1,
    truncated_normal: &__MODULE__.truncated_normal/1,
    gumbel: &__MODULE__.gumbel/1,
    laplace: &__MODULE__.laplace/1,
    categorical: &__MODULE__.categorical/1,
    permutation: &__MODULE__.permutation/1
  ]

  @doc "The rows."
  def rows do
    for({function, draw} <- @draws, do: row(function, [share: 2], fn -> draw.(key: a_key()) end)) ++
      [row(:key, &key/0), row(:split, &split/0)]
  end

  @doc "Rows of calls that take the next key of the process."
  def without_keys, do: for({function, draw} <- @draws, do: row(function, fn -> draw.([]) end))

  defp row(function, options \\ [], draw), do: Row.new(function, [module: Mlx.Random] ++ options, draw)
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

  @doc false
  def uniform(key) do
    {shape, type} = {shape(), one_of(@types)}
    {low, high} = {bound("low", shape, one_of([0, -1.5])), bound("high", shape, one_of([1, 2.5]))}
    {[shape, [low: low, high: high, type: type] ++ key], call("uniform", [low, high, shape, type] ++ key)}
  end

  @doc false
  def normal(key) do
    {shape, type} = {shape(), one_of([:c64 | @types])}
    {loc, scale} = {bound("loc", shape, one_of([nil, 5, 0.5])), bound("scale", shape, one_of([nil, 0.1, 3]))}

    {[shape, [loc: loc, scale: scale, type: type] ++ key],
     call("normal", [shape, type, {:loc, loc}, {:scale, scale}] ++ key)}
  end

  @doc false
  def multivariate_normal(key) do
    mean = random("mean", shape: {2}, type: :f32, values: :finite)
    covariance = of("cov", one_of([[[2.0, 0.5], [0.5, 1.0]], [[1.0, 0.0], [0.0, 4.0]]]), :f32)
    shape = one_of([{}, {3}, {2, 2}])
    {[mean, covariance, [shape: shape] ++ key], call("multivariate_normal", [mean, covariance, shape] ++ key)}
  end

  @doc false
  def randint(key) do
    {shape, type} = {shape(), one_of([:s32, :s64, :u8, :u32, :s16])}
    {low, high} = {one_of([0, 3]), one_of([10, 100, random("high", shape: beside(shape), type: :s32, values: 20..90)])}
    {[low, high, [shape: shape, type: type] ++ key], call("randint", [low, high, shape, type] ++ key)}
  end

  @doc false
  def bernoulli(key) do
    shape = shape()
    p = one_of([0.3, 0.9, random("p", shape: beside(shape), type: :f32, values: 0..1)])
    shape = if is_number(p), do: shape, else: one_of([nil, shape])

    {[p, if(shape, do: [shape: shape], else: []) ++ key],
     call("bernoulli", [p | if(shape || is_number(p), do: [shape], else: [])] ++ key)}
  end

  @doc false
  def truncated_normal(key) do
    {shape, type} = {shape(), one_of(@types)}
    {low, high} = {bound("low", shape, -1), bound("high", shape, 2)}
    {[low, high, [shape: shape, type: type] ++ key], call("truncated_normal", [low, high, shape, type] ++ key)}
  end

  @doc false
  def gumbel(key) do
    {shape, type} = {shape(), one_of(@types)}
    {[shape, [type: type] ++ key], call("gumbel", [shape, type] ++ key)}
  end

  @doc false
  def laplace(key) do
    {shape, type, loc, scale} = {shape(), one_of(@types), one_of([0, 1.5]), one_of([1, 0.25])}

    {[shape, [loc: loc, scale: scale, type: type] ++ key],
     call("laplace", [shape, type, {:loc, loc}, {:scale, scale}] ++ key)}
  end

  @doc false
  def categorical(key) do
    logits = random("x", shape: shape(rank: 1..3, empty: false), type: @types, values: :finite)
    axis = axis(logits.shape)
    size = one_of([[], [num_samples: one_of(1..4)]])
    {[logits, [axis: axis] ++ size ++ key], call("categorical", [logits, {:axis, axis}] ++ size ++ key)}
  end

  @doc false
  def permutation(key) do
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
