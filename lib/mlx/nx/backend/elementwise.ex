if Code.ensure_loaded?(Nx) do
  defmodule Mlx.Nx.Backend.Elementwise do
    @moduledoc false
    # Operations on single numbers.

    import Mlx.Nx.Backend.Conversion, only: [cast: 2, type: 1]

    alias Mlx.{Array, Native, Type}
    alias Mlx.Nx.Backend.{Arithmetic, Quantized}
    alias Mlx.Ops.{DoublePrecision, ErrorFunction}
    alias Nx.Tensor

    @natives [
      exp: :exp,
      log: :log,
      log1p: :log1p,
      cos: :cos,
      sin: :sin,
      tan: :tan,
      cosh: :cosh,
      sinh: :sinh,
      tanh: :tanh,
      acos: :arccos,
      asin: :arcsin,
      atan: :arctan,
      acosh: :arccosh,
      asinh: :arcsinh,
      atanh: :arctanh,
      sqrt: :sqrt,
      rsqrt: :rsqrt,
      erf: :erf,
      erf_inv: :erfinv,
      abs: :abs,
      ceil: :ceil,
      floor: :floor,
      negate: :negative,
      sign: :sign,
      real: :real,
      imag: :imag
    ]

    for name <- [:exp, :sin, :cos, :erf, :erf_inv] do
      def unquote(name)(_out, %Array{type: :f64} = array), do: DoublePrecision.unquote(name)(array)
    end

    for {name, native} <- @natives do
      @spec unquote(name)(Tensor.t(), Array.t()) :: Array.t()
      def unquote(name)(_out, array), do: Native.unquote(native)(array, nil)
    end

    @spec expm1(Tensor.t(), Array.t()) :: Array.t()
    def expm1(_out, %Array{type: :c64} = array), do: array |> Native.exp(nil) |> Native.subtract(1, nil)
    def expm1(_out, array), do: Native.expm1(array, nil)

    @spec sigmoid(Tensor.t(), Array.t()) :: Array.t()
    def sigmoid(_out, %Array{type: :f64} = array), do: DoublePrecision.sigmoid(array)

    def sigmoid(_out, %Array{type: :c64} = array) do
      array |> Native.negative(nil) |> Native.exp(nil) |> Native.add(1, nil) |> Native.reciprocal(nil)
    end

    def sigmoid(_out, array), do: Native.sigmoid(array, nil)

    @spec conjugate(Tensor.t(), Array.t()) :: Array.t()
    def conjugate(out, array), do: array |> cast(type(out)) |> Native.conjugate(nil)

    # A power, which is off by some ulps, and one step of Newton's method. 0 and infinity are roots of themselves.
    @spec cbrt(Tensor.t(), Array.t()) :: Array.t()
    def cbrt(_out, %Array{type: :c64} = array), do: Native.power(array, 1 / 3, nil)

    def cbrt(out, array) do
      array = cast(array, type(out))
      size = Native.abs(array, nil)
      root = Native.power(size, 1 / 3, nil)
      square = Native.square(root, nil)
      excess = square |> Native.multiply(root, nil) |> Native.subtract(size, nil)
      refined = Native.subtract(root, Native.divide(excess, Native.multiply(square, 3, nil), nil), nil)
      root = Native.where(Native.isfinite(refined, nil), refined, root, nil)
      Native.where(Native.less(array, 0, nil), Native.negative(root, nil), root, nil)
    end

    @spec erfc(Tensor.t(), Array.t()) :: Array.t()
    def erfc(out, array), do: array |> cast(type(out)) |> ErrorFunction.erfc()

    # Halves go away from 0, and to the even neighbour in MLX. The fraction is exact, the sum of a number and 0.5 is not.
    @spec round(Tensor.t(), Array.t()) :: Array.t()
    def round(_out, array) do
      if Type.fractional?(array.type) do
        whole = Native.trunc(array, nil)
        rounds = array |> Native.subtract(whole, nil) |> Native.abs(nil) |> Native.greater_equal(0.5, nil)
        Native.where(rounds, Native.add(whole, Native.sign(array, nil), nil), whole, nil)
      else
        array
      end
    end

    @spec clip(Tensor.t(), Array.t(), Array.t(), Array.t()) :: Array.t()
    def clip(out, array, min, max) do
      type = type(out)

      if type == :s64 and :u64 in [array.type, min.type, max.type] do
        Arithmetic.min(out, Arithmetic.max(out, array, min), max)
      else
        Native.clip(cast(array, type), cast(min, type), cast(max, type), nil)
      end
    end

    @spec as_type(Tensor.t(), Array.t() | Quantized.t()) :: Array.t() | Quantized.t()
    def as_type(%Tensor{} = out, %Quantized{} = quantized) do
      if Quantized.type?(out.type) and quantized.type == quantized.source,
        do: %{quantized | type: type(out)},
        else: as_type(out, Quantized.dequantize(quantized))
    end

    def as_type(out, array) do
      type = type(out)
      whole = Type.class(type) in [:signed, :unsigned]

      cond do
        not whole or not Type.fractional?(array.type) -> cast(array, type)
        array.type == :c64 -> array |> Native.real(nil) |> to_integer(type)
        true -> to_integer(array, type)
      end
    end

    # What is no integer gets the value that Nx defines, since that of the processor differs from one to the next.
    defp to_integer(array, type) do
      array
      |> cast(type)
      |> replace(Native.isnan(array, nil), 0)
      |> replace(Native.isposinf(array, nil), Type.max(type))
      |> replace(Native.isneginf(array, nil), Type.min(type))
    end

    defp replace(array, where, number), do: Native.where(where, Native.scalar(number, array.type), array, nil)
  end
end
