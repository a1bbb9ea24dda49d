defmodule Mlx.Ops.ErrorFunction do
  @moduledoc false
  # The error function and what it lacks to 1, whose digits `1 - erf(x)` loses.
  #
  # For x >= 0 and t = 2 / (2 + x), log(erfc(x) / t) + x * x is a smooth function of t on (0, 1]. It is approximated by
  # Chebyshev polynomials in 2 * t - 1, as many as the type needs, whose coefficients are computed here.

  alias Mlx.{Array, Native}
  alias Mlx.Ops.DoublePrecision

  @nodes 64
  @terms %{f32: 14, f64: 34}

  # The continued fraction of erfc(x) * exp(x * x), from its end, for an x that is not small.
  scaled_tail = fn x ->
    fraction = Enum.reduce(120..1//-1, x, fn k, rest -> x + k / 2 / rest end)
    1 / (fraction * :math.sqrt(:math.pi()))
  end

  exponent = fn
    +0.0 ->
      -:math.log(2 * :math.sqrt(:math.pi()))

    t ->
      x = 2 / t - 2
      scaled = if x < 2, do: :math.erfc(x) * :math.exp(x * x), else: scaled_tail.(x)
      :math.log(scaled / t)
  end

  angles = for k <- 0..(@nodes - 1), do: :math.pi() * (k + 0.5) / @nodes
  values = for angle <- angles, do: exponent.((:math.cos(angle) + 1) / 2)

  @coefficients (for term <- 0..(@terms.f64 - 1) do
                   products = Enum.zip_with(angles, values, fn angle, value -> value * :math.cos(term * angle) end)
                   2 / @nodes * Enum.sum(products)
                 end)

  # Of the Taylor series of erf(x) / x, in x * x.
  @series for n <- 0..16, do: 2 / :math.sqrt(:math.pi()) * -1 ** n / (Enum.product(1..n//1) * (2 * n + 1))

  @doc "The error function of `:f64`, which MLX computes with the digits of `:f32`."
  @spec erf(Array.t()) :: Array.t()
  def erf(array) do
    size = Native.abs(array, nil)
    inside = Native.less(size, 0.75, nil)
    # Each side gets numbers that it is made for, or else it would overflow in derivatives.
    far = Native.subtract(1, inside |> Native.where(1, size, nil) |> tail(), nil)
    near = inside |> Native.where(array, 0, nil) |> series()
    Native.where(inside, near, Native.multiply(far, Native.sign(array, nil), nil), nil)
  end

  defp series(array) do
    [first | rest] = Enum.reverse(@series)
    square = Native.square(array, nil)
    sum = Enum.reduce(rest, first, &Native.add(Native.multiply(square, &2, nil), &1, nil))
    Native.multiply(array, sum, nil)
  end

  @spec erfc(Array.t()) :: Array.t()
  def erfc(%Array{type: type} = array) do
    near = Native.subtract(1, if(type == :f64, do: erf(array), else: Native.erf(array, nil)), nil)
    Native.where(Native.less(array, 0.5, nil), near, tail(Native.maximum(array, 0, nil)), nil)
  end

  # Clenshaw's recurrence.
  defp tail(%Array{type: type} = array) do
    t = Native.divide(2, Native.add(array, 2, nil), nil)
    y = t |> Native.multiply(4, nil) |> Native.subtract(2, nil)
    [first | rest] = Enum.take(@coefficients, if(type == :f64, do: @terms.f64, else: @terms.f32))

    {last, before} =
      rest
      |> Enum.reverse()
      |> Enum.reduce({0.0, 0.0}, fn coefficient, {one, two} ->
        {y |> Native.multiply(one, nil) |> Native.subtract(two, nil) |> Native.add(coefficient, nil), one}
      end)

    exponent =
      y
      |> Native.multiply(last, nil)
      |> Native.add(first, nil)
      |> Native.multiply(0.5, nil)
      |> Native.subtract(before, nil)

    exponent = Native.subtract(exponent, Native.square(array, nil), nil)
    power = if type == :f64, do: DoublePrecision.exp(exponent), else: Native.exp(exponent, nil)
    Native.multiply(t, power, nil)
  end
end
