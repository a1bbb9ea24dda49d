if Code.ensure_loaded?(Nx) do
  defmodule Mlx.Nx.Backend.Bits do
    @moduledoc false
    # Operations on the bits of numbers.

    import Mlx.Nx.Backend.Conversion, only: [cast: 2, type: 1]

    alias Mlx.{Array, Native, Type}
    alias Nx.Tensor

    for name <- [:bitwise_and, :bitwise_or, :bitwise_xor] do
      @spec unquote(name)(Tensor.t(), Array.t(), Array.t()) :: Array.t()
      def unquote(name)(out, a, b), do: Native.unquote(name)(cast(a, type(out)), cast(b, type(out)), nil)
    end

    @spec bitwise_not(Tensor.t(), Array.t()) :: Array.t()
    def bitwise_not(_out, array), do: Native.bitwise_invert(array, nil)

    # The processor only looks at the last bits of a distance.
    @spec left_shift(Tensor.t(), Array.t(), Array.t()) :: Array.t()
    def left_shift(out, a, b) do
      type = type(out)
      {a, b} = {cast(a, type), cast(b, type)}
      Native.where(inside(b, type), Native.left_shift(a, b, nil), 0, nil)
    end

    @spec right_shift(Tensor.t(), Array.t(), Array.t()) :: Array.t()
    def right_shift(_out, %Array{type: :u64} = a, b) do
      b = cast(b, :u64)
      Native.where(inside(b, :u64), Native.right_shift(a, b, nil), 0, nil)
    end

    def right_shift(out, a, b) do
      type = type(out)
      {a, b} = {cast(a, type), cast(b, type)}

      case Type.class(type) do
        :unsigned -> Native.where(inside(b, type), Native.right_shift(a, b, nil), 0, nil)
        :signed -> Native.right_shift(a, Native.where(inside(b, type), b, Type.bits(type) - 1, nil), nil)
      end
    end

    defp inside(distance, type) do
      least = Native.greater_equal(distance, 0, nil)
      Native.logical_and(least, Native.less(distance, Type.bits(type), nil), nil)
    end

    # All bits below the first one are set; those that are not are counted.
    @spec count_leading_zeros(Tensor.t(), Array.t()) :: Array.t()
    def count_leading_zeros(_out, array) do
      array = unsigned(array)
      bits = Type.bits(array.type)
      filled = Enum.reduce(distances(bits), array, &Native.bitwise_or(&2, Native.right_shift(&2, &1, nil), nil))
      filled |> Native.bitwise_invert(nil) |> ones()
    end

    @spec population_count(Tensor.t(), Array.t()) :: Array.t()
    def population_count(_out, array), do: array |> unsigned() |> ones()

    @spec bitcast(Tensor.t(), Array.t()) :: Array.t()
    def bitcast(out, array), do: Native.view(array, type(out), nil)

    # The sums of neighbours, then of pairs, and so on: each step adds fields of `distance` bits.
    defp ones(array) do
      bits = Type.bits(array.type)

      Enum.reduce(distances(bits), array, fn distance, sums ->
        mask = Native.scalar(fields(bits, distance), array.type)
        low = Native.bitwise_and(sums, mask, nil)
        high = sums |> Native.right_shift(distance, nil) |> Native.bitwise_and(mask, nil)
        Native.add(low, high, nil)
      end)
    end

    # Ones in every second field of `distance` bits.
    defp fields(bits, distance), do: div(2 ** bits - 1, 2 ** distance + 1)

    defp distances(bits), do: Enum.take_while([1, 2, 4, 8, 16, 32], &(&1 < bits))

    defp unsigned(%Array{type: type} = array) do
      case Type.class(type) do
        :unsigned -> array
        :signed -> Native.view(array, Type.normalize!({:u, Type.bits(type)}), nil)
      end
    end
  end
end
