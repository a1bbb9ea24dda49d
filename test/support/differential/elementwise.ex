defmodule Mlx.Differential.Elementwise do
  @moduledoc "Rows for operations on each element alone."

  import Mlx.Differential.{Draw, Operands}
  import Mlx.Differential.Input, only: [random: 1, random: 2]

  alias Mlx.Differential.{Input, Python, Row}
  alias Mlx.Oracle

  @unary [
    abs: "abs",
    negate: "negative",
    positive: "positive",
    sign: "sign",
    square: "square",
    sqrt: "sqrt",
    rsqrt: "rsqrt",
    reciprocal: "reciprocal",
    exp: "exp",
    expm1: "expm1",
    log: "log",
    log1p: "log1p",
    log2: "log2",
    log10: "log10",
    sin: "sin",
    cos: "cos",
    tan: "tan",
    asin: "arcsin",
    acos: "arccos",
    atan: "arctan",
    sinh: "sinh",
    cosh: "cosh",
    tanh: "tanh",
    asinh: "arcsinh",
    acosh: "arccosh",
    atanh: "arctanh",
    degrees: "degrees",
    radians: "radians",
    sigmoid: "sigmoid",
    erf: "erf",
    erf_inv: "erfinv",
    floor: "floor",
    ceil: "ceil",
    trunc: "trunc",
    conjugate: "conjugate",
    real: "real",
    imag: "imag",
    logical_not: "logical_not",
    bitwise_not: "bitwise_invert",
    is_nan: "isnan",
    is_infinity: "isinf",
    is_positive_infinity: "isposinf",
    is_negative_infinity: "isneginf",
    is_finite: "isfinite",
    stop_gradient: "stop_gradient"
  ]

  # The values of the second operand.
  @binary [
    add: {"add", :any},
    subtract: {"subtract", :any},
    multiply: {"multiply", :any},
    divide: {"divide", :any},
    floor_divide: {"floor_divide", :divisor},
    remainder: {"remainder", :divisor},
    divmod: {"divmod", :divisor},
    pow: {"power", :exponent},
    max: {"maximum", :any},
    min: {"minimum", :any},
    logaddexp: {"logaddexp", :any},
    equal: {"equal", :any},
    not_equal: {"not_equal", :any},
    greater: {"greater", :any},
    greater_equal: {"greater_equal", :any},
    less: {"less", :any},
    less_equal: {"less_equal", :any},
    logical_and: {"logical_and", :any},
    logical_or: {"logical_or", :any},
    logical_xor: {"logical_xor", :any},
    bitwise_and: {"bitwise_and", :any},
    bitwise_or: {"bitwise_or", :any},
    left_shift: {"left_shift", :shift},
    right_shift: {"right_shift", :shift}
  ]

  @doc "The rows."
  def rows do
    for({name, python} <- @unary, do: Row.new(name, fn -> unary(python) end)) ++
      for({name, {python, values}} <- @binary, do: Row.new(name, [share: 4], fn -> binary(python, values) end)) ++
      for({name, python} <- [is_close: "isclose", all_close: "allclose"], do: Row.new(name, fn -> close(python) end)) ++
      [
        Row.new(:atan2, &atan2/0),
        Row.new(:bitwise_xor, [share: 4], &bitwise_xor/0),
        Row.new(:array_equal, &array_equal/0),
        Row.new(:round, &round_to/0),
        Row.new(:select, [share: 2], &select/0),
        Row.new(:clip, [share: 2], &clip/0),
        Row.new(:nan_to_num, &nan_to_num/0),
        Row.new(:as_type, [share: 3], &as_type/0),
        Row.new(:bitcast, &bitcast/0)
      ]
  end

  defp unary(python) do
    x = random("x", type: Oracle.right_types(python, Mlx.Type.all()))
    {[x], Python.call("mx.#{python}", [x])}
  end

  defp binary(python, values) do
    {a, b} = operands(values)
    types = for %Input{type: type} <- [a, b], do: type
    right? = Oracle.right_types(python, types) == types
    if right?, do: {[a, b], Python.call("mx.#{python}", [a, b])}, else: binary(python, values)
  end

  # Arrays of types and shapes that differ or not, or a number in the place of one.
  defp operands(values) do
    shape = shape()
    type = type()
    a = random("a", shape: shape, type: type)
    b = random("b", shape: beside(shape), type: if(chance?(2), do: type, else: type()), values: values)

    case :rand.uniform(8) do
      1 -> {number(), b}
      2 -> {a, number(values)}
      3 -> {a, number(values)}
      4 -> {random("a", shape: beside(shape)), random("b", shape: shape, values: values)}
      _ -> {a, b}
    end
  end

  # MLX's own is wrong for two booleans when it reuses the memory of one, which Python has then, too.
  defp bitwise_xor do
    {a, b} = operands(:any)
    if boolean?(a) and boolean?(b), do: bitwise_xor(), else: {[a, b], Python.call("mx.bitwise_xor", [a, b])}
  end

  defp boolean?(%Input{type: type}), do: type == :bool
  defp boolean?(number), do: is_boolean(number)

  defp atan2 do
    shape = shape()
    {a, b} = {random("a", shape: shape), random("b", shape: beside(shape))}
    {[a, b], Python.call("mx.arctan2", [a, b])}
  end

  defp close(python) do
    shape = shape()
    values = one_of([:any, :finite, 1..2])
    {a, b} = {random("a", shape: shape, values: values), random("b", shape: beside(shape), values: values)}
    [rtol, atol, equal_nan] = [one_of([1.0e-5, 0.1, 0]), one_of([1.0e-8, 0.5, 1]), flag()]

    {[a, b, [rtol: rtol, atol: atol, equal_nan: equal_nan]],
     Python.call("mx.#{python}", [a, b, rtol: rtol, atol: atol, equal_nan: equal_nan])}
  end

  defp array_equal do
    a = random("a", shape: shape(rank: 0..2))

    b =
      if chance?(2),
        do: %{a | name: "b"},
        else: random("b", shape: one_of([a.shape, shape()]), type: one_of([a.type, type()]))

    equal_nan = flag()
    {[a, b, [equal_nan: equal_nan]], Python.call("mx.array_equal", [a, b, equal_nan: equal_nan])}
  end

  defp round_to do
    {x, decimals} = {random("x"), one_of(-2..3)}
    {[x, [decimals: decimals]], Python.call("mx.round", [x, decimals])}
  end

  defp select do
    shape = shape()
    predicate = random("p", shape: beside(shape), type: one_of([:bool, :bool, type()]))
    {a, b} = operands(:any)
    {a, b} = if chance?(2), do: {a, b}, else: {random("a", shape: shape), random("b", shape: beside(shape))}
    {[predicate, a, b], Python.call("mx.where", [predicate, a, b])}
  end

  defp clip do
    x = random("x")
    low = one_of([nil, number(), random("low", shape: beside(x.shape)), random("low", shape: {}, type: x.type)])
    high = if low, do: one_of([nil, number(), random("high", shape: beside(x.shape))]), else: number()
    {[x, low, high], Python.call("mx.clip", [x, low, high])}
  end

  defp nan_to_num do
    x = random("x")
    {nan, low, high} = {one_of([0, 1.5]), one_of([nil, -7.5]), one_of([nil, 7.5])}

    {[x, [nan: nan, neg_infinity: low, infinity: high]],
     Python.call("mx.nan_to_num", [x, nan: nan, neginf: low, posinf: high])}
  end

  defp as_type do
    {x, type} = {random("x"), type()}
    {[x, type], "(#{x}).astype(#{Python.term(type)})"}
  end

  defp bitcast do
    {x, type} = {random("x"), type()}
    {[x, type], "(#{x}).view(#{Python.term(type)})"}
  end
end
