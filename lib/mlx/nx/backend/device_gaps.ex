if Code.ensure_loaded?(Nx) do
  defmodule Mlx.Nx.Backend.DeviceGaps do
    @moduledoc false
    # What a GPU has no type or no kernel for. The CPU computes it instead, on the same memory.

    alias Nx.Tensor

    # Of each operation with some types: those that Metal or CUDA has no kernel for. No GPU has f64.
    @kernels [
      {[:acosh, :asinh, :atanh], [{:c, 64}]},
      # They write in any order, with atomic operations of 32 bits.
      {[:indexed_add, :indexed_put, :window_scatter_max, :window_scatter_min], [{:s, 64}, {:u, 64}, {:c, 64}]}
    ]

    @doc "The type that a GPU lacks for an operation on tensors, which are its result and its arguments; nil if it lacks none."
    @spec type(atom(), [Tensor.t() | term()]) :: Nx.Type.t() | nil
    def type(operation, [%Tensor{type: type} | rest]), do: missing(operation, type) || type(operation, rest)

    def type(operation, [arguments | rest]) when is_list(arguments),
      do: type(operation, arguments) || type(operation, rest)

    def type(operation, [_other | rest]), do: type(operation, rest)
    def type(_operation, []), do: nil

    defp missing(_operation, {:f, 64} = type), do: type

    for {operations, types} <- @kernels, operation <- operations, type <- types do
      defp missing(unquote(operation), unquote(type)), do: unquote(type)
    end

    defp missing(_operation, _type), do: nil
  end
end
