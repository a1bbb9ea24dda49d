defmodule Mlx.LM.Grammar.Numbers do
  @moduledoc false
  # Numbers between bounds, as JSON writes them. A bound is `{:at, decimal}`, `{:beyond, decimal}` or nil; a decimal is
  # `{coefficient, scale}`, the integer divided by ten to the scale.

  alias Mlx.LM.Grammar.Expression

  @type decimal :: {integer(), non_neg_integer()}
  @type bound :: {:at | :beyond, decimal()} | nil

  # As many decimal digits are told apart by numbers of 64 bits.
  @exact 15

  # The most digits before the point where there is no bound.
  @digits 16
  @digits_of_multiples 6
  @digits_beside_fraction 9

  # The most digits of a bound, and the largest divisor.
  @most 400
  @divisor 5000

  @nine {:set, [{?0, ?9}]}

  @doc "The decimal of a number, or nil where it has too many digits."
  @spec decimal(number()) :: decimal() | nil
  def decimal(integer) when is_integer(integer), do: if(abs(integer) < Integer.pow(10, @most), do: {integer, 0})

  def decimal(float) do
    {digits, exponent} =
      case String.split(Float.to_string(float), "e") do
        [digits] -> {digits, 0}
        [digits, exponent] -> {digits, String.to_integer(exponent)}
      end

    [whole, fraction] = String.split(digits, ".")
    reduced({String.to_integer(whole <> fraction), byte_size(fraction) - exponent})
  end

  defp reduced({coefficient, scale}) when scale < 0, do: {coefficient * Integer.pow(10, -scale), 0}

  defp reduced({coefficient, scale}) when scale > 0 and rem(coefficient, 10) == 0,
    do: reduced({div(coefficient, 10), scale - 1})

  defp reduced(decimal), do: decimal

  @doc "The largest divisor that `integer/3` takes."
  @spec most_divisor() :: pos_integer()
  def most_divisor, do: @divisor

  @doc "Integers between bounds that are multiples of a number."
  @spec integer(bound(), bound(), pos_integer()) :: Expression.t()
  def integer(nil, nil, 1), do: {:ref, :integer}

  def integer(low, high, divisor) do
    {low, high} = {low && least(low), high && most(high)}

    below =
      if low == nil or low < 0,
        do:
          {:bytes, "-"}
          |> then(&Expression.seq([&1, multiples(naturals(max(1, -(high || -1)), low && -low, divisor), divisor)])),
        else: Expression.never()

    above =
      if high == nil or high >= 0,
        do: multiples(naturals(max(0, low || 0), high, divisor), divisor),
        else: Expression.never()

    Expression.alt([below, above])
  end

  defp least({:at, {coefficient, scale}}), do: -Integer.floor_div(-coefficient, Integer.pow(10, scale))
  defp least({:beyond, {coefficient, scale}}), do: Integer.floor_div(coefficient, Integer.pow(10, scale)) + 1
  defp most({:at, {coefficient, scale}}), do: Integer.floor_div(coefficient, Integer.pow(10, scale))
  defp most({:beyond, {coefficient, scale}}), do: -Integer.floor_div(-coefficient, Integer.pow(10, scale)) - 1

  defp multiples(tree, 1), do: tree
  defp multiples(tree, divisor), do: {:both, tree, {:multiple, divisor}}

  # Natural numbers from one to another. Each digit more takes as many states as the divisor is large.
  defp naturals(low, high, divisor \\ 1)

  defp naturals(low, nil, divisor) do
    digits = max(if(divisor == 1, do: @digits, else: @digits_of_multiples), length(Integer.digits(low)) + 1)
    naturals(low, Integer.pow(10, digits) - 1, divisor)
  end

  defp naturals(low, high, _divisor) when low > high, do: Expression.never()

  defp naturals(low, high, _divisor) do
    {fewest, most} = {length(Integer.digits(low)), length(Integer.digits(high))}

    Expression.alt(
      for count <- fewest..most do
        from = if count == fewest, do: low, else: Integer.pow(10, count - 1)
        to = if count == most, do: high, else: Integer.pow(10, count) - 1
        between(Integer.digits(from), Integer.digits(to))
      end
    )
  end

  # Digits of one number.
  defp between([], []), do: Expression.empty()
  defp between([digit | low], [digit | high]), do: Expression.seq([one(digit, digit), between(low, high)])

  defp between([first | low], [last | high]) do
    rest = {:repeat, @nine, length(low), length(low)}

    Expression.alt([
      Expression.seq([one(first, first), at_least(low)]),
      if(first + 1 <= last - 1, do: Expression.seq([one(first + 1, last - 1), rest]), else: Expression.never()),
      Expression.seq([one(last, last), at_most(high)])
    ])
  end

  defp at_least([]), do: Expression.empty()

  defp at_least([digit | rest]) do
    above = if digit < 9, do: Expression.seq([one(digit + 1, 9), any(length(rest))]), else: Expression.never()
    Expression.alt([Expression.seq([one(digit, digit), at_least(rest)]), above])
  end

  defp at_most([]), do: Expression.empty()

  defp at_most([digit | rest]) do
    below = if digit > 0, do: Expression.seq([one(0, digit - 1), any(length(rest))]), else: Expression.never()
    Expression.alt([Expression.seq([one(digit, digit), at_most(rest)]), below])
  end

  defp one(low, high), do: {:set, [{?0 + low, ?0 + high}]}
  defp any(count), do: {:repeat, @nine, count, count}
  defp up_to(count), do: {:repeat, @nine, 0, count}

  @doc "Numbers between bounds, without an exponent where there is one."
  @spec number(bound(), bound()) :: Expression.t()
  def number(nil, nil), do: {:ref, :number}

  def number(low, high) do
    # What is negative has the bounds of its opposite.
    below =
      if low == nil or negative?(low),
        do: decimals(opposite(high) |> above_zero(), opposite(low)),
        else: Expression.never()

    above = if high == nil or not negative?(high), do: decimals(zero_at_least(low), high), else: Expression.never()
    Expression.alt([above, Expression.seq([{:bytes, "-"}, below])])
  end

  defp negative?({_kind, {coefficient, _scale}}), do: coefficient < 0
  defp opposite(nil), do: nil
  defp opposite({kind, {coefficient, scale}}), do: {kind, {-coefficient, scale}}
  defp above_zero({_kind, {coefficient, _scale}} = bound) when coefficient > 0, do: bound
  defp above_zero(_bound), do: {:beyond, {0, 0}}
  defp zero_at_least({_kind, {coefficient, _scale}} = bound) when coefficient >= 0, do: bound
  defp zero_at_least(_bound), do: {:at, {0, 0}}

  # Decimals from a bound that is not negative on.
  defp decimals(low, high) do
    strict = match?({:beyond, _}, low) or match?({:beyond, _}, high)
    digits = digits(low, high)
    places = if digits >= @exact, do: 0, else: @exact - digits
    {low, high} = if strict, do: {cut(low, places, 1), cut(high, places, 0)}, else: {low, high}
    places = Enum.max([places | for({_kind, {_coefficient, scale}} <- [low, high], do: scale)])

    from = at_or_above(low, places, high || {:at, {Integer.pow(10, digits) - 1, 0}})
    if high, do: {:both, from, at_or_below(high, places)}, else: from
  end

  defp digits(low, nil) do
    {_kind, {_coefficient, scale}} = low
    max(whole_digits(low) + 1, min(@digits_beside_fraction, max(@exact - scale, 1)))
  end

  defp digits(low, high), do: max(whole_digits(low), whole_digits(high))

  defp whole_digits({_kind, {coefficient, scale}}),
    do: coefficient |> div(Integer.pow(10, scale)) |> abs() |> Integer.digits() |> length()

  # A bound of no more places behind the point, towards the numbers that fit.
  defp cut(nil, _places, _up), do: nil
  defp cut({_kind, {_coefficient, scale}} = bound, places, _up) when scale <= places, do: bound

  defp cut({_kind, {coefficient, scale}}, places, up) do
    {:at, reduced({div(coefficient, Integer.pow(10, scale - places)) + up, places})}
  end

  # The whole part, and the digits behind the point.
  defp parts({_kind, {coefficient, scale}}) do
    unit = Integer.pow(10, scale)
    fraction = rem(coefficient, unit)

    digits =
      if scale == 0, do: [], else: fraction |> Integer.digits() |> then(&(List.duplicate(0, scale - length(&1)) ++ &1))

    {div(coefficient, unit), digits}
  end

  defp at_or_above({kind, _} = low, places, high) do
    {whole, fraction} = parts(low)
    {top, _fraction} = parts(high)

    Expression.alt([
      Expression.seq([naturals(whole + 1, top), fraction(places)]),
      Expression.seq([{:bytes, Integer.to_string(whole)}, fraction_above(fraction, kind, places)])
    ])
  end

  defp at_or_below({kind, _} = high, places) do
    {whole, fraction} = parts(high)

    Expression.alt([
      Expression.seq([naturals(0, whole - 1), fraction(places)]),
      Expression.seq([{:bytes, Integer.to_string(whole)}, fraction_below(fraction, kind, places)])
    ])
  end

  defp fraction(0), do: Expression.empty()
  defp fraction(places), do: Expression.optional(Expression.seq([{:bytes, "."}, {:repeat, @nine, 1, places}]))

  defp fraction_above([], :at, places), do: fraction(places)
  defp fraction_above([], :beyond, 0), do: Expression.never()
  defp fraction_above([], :beyond, places), do: Expression.seq([{:bytes, "."}, not_zero(places)])
  defp fraction_above(digits, kind, places), do: Expression.seq([{:bytes, "."}, above(digits, kind, places)])

  defp above([], :at, places), do: up_to(places)
  defp above([], :beyond, 0), do: Expression.never()
  defp above([], :beyond, places), do: not_zero(places)

  defp above([digit | rest], kind, places) do
    greater = if digit < 9, do: Expression.seq([one(digit + 1, 9), up_to(places - 1)]), else: Expression.never()
    Expression.alt([greater, Expression.seq([one(digit, digit), above(rest, kind, places - 1)])])
  end

  # Digits of which one is not 0.
  defp not_zero(places) do
    Expression.alt(
      for zeros <- 0..(places - 1),
          do: Expression.seq([{:bytes, String.duplicate("0", zeros)}, one(1, 9), up_to(places - zeros - 1)])
    )
  end

  defp fraction_below([], :at, 0), do: Expression.empty()

  defp fraction_below([], :at, places),
    do: Expression.optional(Expression.seq([{:bytes, "."}, {:repeat, {:bytes, "0"}, 1, places}]))

  defp fraction_below([], :beyond, _places), do: Expression.never()

  defp fraction_below(digits, kind, places),
    do: Expression.optional(Expression.seq([{:bytes, "."}, below(digits, kind, places)]))

  defp below([digit | rest], kind, places) do
    less = if digit > 0, do: Expression.seq([one(0, digit - 1), up_to(places - 1)]), else: Expression.never()

    equal =
      case {rest, kind} do
        {[], :at} -> {:repeat, {:bytes, "0"}, 0, places - 1}
        {[], :beyond} -> Expression.never()
        {rest, kind} -> Expression.optional(below(rest, kind, places - 1))
      end

    Expression.alt([less, Expression.seq([one(digit, digit), equal])])
  end
end
