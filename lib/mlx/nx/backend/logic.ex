if Code.ensure_loaded?(Nx) do
  defmodule Mlx.Nx.Backend.Logic do
    @moduledoc false
    # Comparisons, and what is done with their results.

    import Mlx.Nx.Backend.Conversion, only: [cast: 2, type: 1]
    import Mlx.Nx.Backend.MixedSigns, only: [is_mixed: 2]
    import Mlx.Nx.Backend.Promotion, only: [alike: 2]

    alias Mlx.{Array, Native}
    alias Mlx.Nx.Backend.MixedSigns
    alias Nx.Tensor

    for name <- [:equal, :not_equal, :greater, :less, :greater_equal, :less_equal] do
      @spec unquote(name)(Tensor.t(), Array.t(), Array.t()) :: Array.t()
      def unquote(name)(_out, a, b) when is_mixed(a, b), do: MixedSigns.unquote(name)(a, b)

      def unquote(name)(_out, a, b) do
        {a, b} = alike(a, b)
        Native.unquote(name)(a, b, nil)
      end
    end

    for name <- [:logical_and, :logical_or, :logical_xor] do
      @spec unquote(name)(Tensor.t(), Array.t(), Array.t()) :: Array.t()
      def unquote(name)(_out, a, b), do: Native.unquote(name)(truth(a), truth(b), nil)
    end

    @spec is_nan(Tensor.t(), Array.t()) :: Array.t()
    def is_nan(_out, array), do: Native.isnan(array, nil)

    @spec is_infinity(Tensor.t(), Array.t()) :: Array.t()
    def is_infinity(_out, array), do: Native.isinf(array, nil)

    @spec select(Tensor.t(), Array.t(), Array.t(), Array.t()) :: Array.t()
    def select(%Tensor{shape: shape} = out, predicate, a, b) do
      type = type(out)

      case Native.where(truth(predicate), cast(a, type), cast(b, type), nil) do
        %Array{shape: ^shape} = array -> array
        array -> Native.broadcast_to(array, shape, nil)
      end
    end

    @doc "What is not 0. MLX itself takes an imaginary number for 0."
    @spec truth(Array.t()) :: Array.t()
    def truth(%Array{type: :c64} = array), do: Native.not_equal(array, 0, nil)
    def truth(%Array{} = array), do: array
  end
end
