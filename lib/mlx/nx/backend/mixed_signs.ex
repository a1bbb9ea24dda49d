if Code.ensure_loaded?(Nx) do
  defmodule Mlx.Nx.Backend.MixedSigns do
    @moduledoc false
    # Operations on a number of `:u64` and a signed one. No type holds both, and Nx takes `:s64` for their results. So it is
    # their exact values that are compared and divided, as those of Elixir's integers are, and the result is cut to 64 bits.

    import Mlx.Nx.Backend.Conversion, only: [cast: 2]

    alias Mlx.{Array, Native}

    @signed [:s8, :s16, :s32, :s64]

    @doc "Whether one of two arrays is of `:u64` and the other one of a signed type."
    defguard is_mixed(a, b)
             when (:erlang.map_get(:type, a) == :u64 and :erlang.map_get(:type, b) in @signed) or
                    (:erlang.map_get(:type, b) == :u64 and :erlang.map_get(:type, a) in @signed)

    # Each with the function of Elixir that says what it is of 0 and -1: any unsigned number and any negative one.
    @comparisons [equal: :==, not_equal: :!=, greater: :>, less: :<, greater_equal: :>=, less_equal: :<=]

    for {name, operator} <- @comparisons do
      @spec unquote(name)(Array.t(), Array.t()) :: Array.t()
      def unquote(name)(a, b) do
        truth = apply(Kernel, unquote(operator), [sign(a), sign(b)])
        equally_signed = Native.unquote(name)(cast(a, :u64), cast(b, :u64), nil)
        Native.where(negative(if(a.type == :u64, do: b, else: a)), truth, equally_signed, nil)
      end
    end

    defp sign(%Array{type: :u64}), do: 0
    defp sign(%Array{}), do: -1

    @doc "The greater number of each two, in `:u64`: it is not negative."
    @spec max(Array.t(), Array.t()) :: Array.t()
    def max(a, b), do: a |> greater(b) |> Native.where(cast(a, :u64), cast(b, :u64), nil)

    @doc "The lesser number of each two, in `:s64`: it is not greater than the signed one."
    @spec min(Array.t(), Array.t()) :: Array.t()
    def min(a, b), do: a |> less(b) |> Native.where(cast(a, :s64), cast(b, :s64), nil)

    @doc "The quotient without its fraction."
    @spec quotient(Array.t(), Array.t()) :: Array.t()
    def quotient(a, b) do
      size = Native.floor_divide(size(a), size(b), nil)
      a |> negative() |> Native.not_equal(negative(b), nil) |> negated(size)
    end

    @doc "What the division leaves, with the sign of the dividend."
    @spec remainder(Array.t(), Array.t()) :: Array.t()
    def remainder(a, b), do: a |> negative() |> negated(Native.remainder(size(a), size(b), nil))

    # The absolute value, which of the least number is none of `:s64`.
    defp size(%Array{type: :u64} = array), do: array
    defp size(array), do: array |> negative() |> negated(cast(array, :u64))

    # In two's complement, unsigned numbers have the bits of their opposites.
    defp negated(where, array), do: Native.where(where, Native.subtract(0, array, nil), array, nil)

    defp negative(array), do: Native.less(array, 0, nil)
  end
end
