defmodule Mlx.Descriptions.Elementwise do
  @moduledoc "Operations on each element alone."

  use Mlx.Description

  import Mlx.Differential.Input, only: [random: 1, random: 2]
  import Mlx.Differential.Operands

  alias Mlx.Conformance.Operators
  alias Mlx.Differential.Input
  alias Mlx.Oracle

  # Python's names, of which the first is called.
  @unary [
    abs: "abs array.abs",
    negate: "negative",
    positive: "positive",
    sign: "sign",
    square: "square array.square",
    sqrt: "sqrt array.sqrt",
    rsqrt: "rsqrt array.rsqrt",
    reciprocal: "reciprocal array.reciprocal",
    exp: "exp array.exp",
    expm1: "expm1",
    log: "log array.log",
    log1p: "log1p array.log1p",
    log2: "log2 array.log2",
    log10: "log10 array.log10",
    sin: "sin array.sin",
    cos: "cos array.cos",
    tan: "tan",
    asin: "arcsin asin",
    acos: "arccos acos",
    atan: "arctan atan",
    sinh: "sinh",
    cosh: "cosh",
    tanh: "tanh",
    asinh: "arcsinh asinh",
    acosh: "arccosh acosh",
    atanh: "arctanh atanh",
    degrees: "degrees",
    radians: "radians",
    sigmoid: "sigmoid",
    erf: "erf",
    erf_inv: "erfinv",
    floor: "floor",
    ceil: "ceil",
    trunc: "trunc",
    conjugate: "conjugate conj array.conj",
    real: "real array.real",
    imag: "imag array.imag",
    stop_gradient: "stop_gradient"
  ]

  @unary_to_whole [
    logical_not: "logical_not",
    is_nan: "isnan",
    is_infinity: "isinf",
    is_positive_infinity: "isposinf",
    is_negative_infinity: "isneginf",
    is_finite: "isfinite"
  ]

  @binary [
    add: "add",
    subtract: "subtract",
    multiply: "multiply",
    divide: "divide",
    logaddexp: "logaddexp"
  ]

  @extremes [max: "maximum", min: "minimum"]
  @divisions [floor_divide: "floor_divide", remainder: "remainder", divmod: "divmod"]

  @binary_to_whole [
    equal: "equal",
    not_equal: "not_equal",
    greater: "greater",
    greater_equal: "greater_equal",
    less: "less",
    less_equal: "less_equal",
    logical_and: "logical_and",
    logical_or: "logical_or",
    logical_xor: "logical_xor"
  ]

  @bitwise [bitwise_and: "bitwise_and", bitwise_or: "bitwise_or"]
  @shifts [left_shift: "left_shift bitwise_left_shift", right_shift: "right_shift bitwise_right_shift"]

  @whole "gives no fractions"
  @by_zero "an integer divided by 0 gives 0 with the integer as remainder, where Python's process dies"
  @integers [array({4, 4}, :s32), array({4, 4}, :s32), nil]

  @doc "The descriptions."
  def operations do
    for({name, python} <- @unary, do: unary(name, python, [])) ++
      for({name, python} <- @unary_to_whole, do: unary(name, python, no_gradient: @whole)) ++
      for({name, python} <- @binary, do: binary(name, pair(python), [])) ++
      for({name, python} <- @extremes, do: binary(name, pair(python, "#{name}(a, b) with Mlx.Operators"), [])) ++
      for({name, python} <- @divisions, do: binary(name, pair(python, @by_zero), :divisor, [])) ++
      for({name, python} <- @binary_to_whole, do: binary(name, pair(python), no_gradient: @whole)) ++
      for({name, python} <- @bitwise, do: binary(name, pair(python), bitwise(name))) ++
      for({name, python} <- @shifts, do: binary(name, pair(python), :shift, bitwise(name))) ++
      for({name, python} <- [is_close: "isclose", all_close: "allclose"], do: close(name, python)) ++
      others() ++ of_types()
  end

  defp others do
    [
      unary(:bitwise_not, "bitwise_invert",
        no_gradient: @whole,
        examples: [bitwise_invert: [[array({4, 4}, :u8), nil]]]
      ),
      operation(:atan2, python: pair("arctan2 atan2"), draw: &atan2/0),
      binary(:pow, pair("power pow"), :exponent, []),
      operation(:bitwise_xor, [python: pair("bitwise_xor"), share: 4, draw: &bitwise_xor/0] ++ bitwise(:bitwise_xor)),
      operation(:array_equal,
        python:
          python("array_equal", [a: :any, b: :any, equal_nan: option(:boolean, :equal_nan)],
            adapter: &Operators.pair/3,
            note: "the result is an array"
          ),
        no_gradient: @whole,
        without_options: :arrays,
        draw: &array_equal/0
      ),
      operation(:round,
        python:
          python("round array.round", [a: :operand, decimals: option(:integer, :decimals)],
            note: "the option :decimals"
          ),
        without_options: :array,
        draw: &round_to/0
      ),
      operation(:select,
        python: python("where", condition: :operand, x: :operand, y: :operand),
        share: 2,
        draw: &select/0
      ),
      operation(:clip,
        python: python("clip", a: :array, a_min: default(:operand, nil), a_max: default(:operand, nil)),
        examples: [clip: [[array({4, 4}), array({}), nil, nil], [array({4, 4}), nil, array({4}), nil]]],
        share: 2,
        draw: &clip/0
      )
    ]
  end

  defp of_types do
    limits = [posinf: option(:number, :infinity), neginf: option(:number, :neg_infinity)]

    [
      operation(:nan_to_num,
        python:
          python("nan_to_num", [a: :operand, nan: option(:number, :nan)] ++ limits,
            note: "options :nan, :infinity, :neg_infinity"
          ),
        without_options: :array,
        draw: &nan_to_num/0
      ),
      operation(:as_type, python: python("astype array.astype", a: :operand, dtype: :type), share: 3, draw: &as_type/0),
      operation(:bitcast,
        python: python("view array.view", a: :operand, dtype: :type),
        other_gradient: "Python has none where there are no elements",
        draw: &bitcast/0
      )
    ]
  end

  defp unary(name, python, fields) do
    operation(name, [python: python(python, a: :operand), draw: fn -> unary(first(python)) end] ++ fields)
  end

  # The values of the second operand are those of `Mlx.Differential.Values`.
  defp binary(name, python, values \\ :any, fields) do
    draw = fn -> binary(hd(python.names), values) end
    operation(name, [python: python, share: 4, draw: draw] ++ fields)
  end

  defp pair(names, note \\ ""), do: python(names, [a: :any, b: :any], adapter: &Operators.pair/3, note: note)

  defp bitwise(native), do: [no_gradient: @whole, examples: [{native, [@integers]}]]

  defp close(name, python) do
    note = "options :rtol, :atol, :equal_nan" <> if(name == :all_close, do: "; the result is an array", else: "")
    tolerances = [rtol: option(:number, :rtol), atol: option(:number, :atol), equal_nan: option(:boolean, :equal_nan)]

    operation(name,
      python: python(python, [a: :any, b: :any] ++ tolerances, adapter: &Operators.pair/3, note: note),
      no_gradient: @whole,
      without_options: :arrays,
      draw: fn -> close(python) end
    )
  end

  defp first(names), do: names |> String.split() |> hd()

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
