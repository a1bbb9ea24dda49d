if Code.ensure_loaded?(Nx) do
  defmodule Mlx.Nx.Backend.SmallArrays do
    @moduledoc false
    # Arrays that a device computes in less time than it takes to hand them to it, or to wait for it.

    alias Mlx.{Array, Type}
    alias Mlx.Nx.Backend.Quantized

    # The most bytes of a small array.
    @small 16_384

    @typedoc "What a tensor holds."
    @type held :: Array.t() | Quantized.t()

    @doc "Whether an array is small, or one of this shape and type. Quantized tensors are made of large ones."
    @spec small?(held() | {tuple(), Type.t()}) :: boolean()
    def small?(%Array{shape: shape, type: type}), do: small?({shape, type})
    def small?(%Quantized{}), do: false
    def small?({shape, type}), do: Tuple.product(shape) * Type.bytes(type) <= @small
  end
end
