if Code.ensure_loaded?(Nx) do
  defmodule Mlx.Nx.Backend.Promotion do
    @moduledoc false
    # The type that two operands are brought to: that of Nx. Where MLX has the same one it does that itself, in the same call.

    import Mlx.Nx.Backend.Conversion, only: [cast: 2, type: 1]

    alias Mlx.{Array, Type}
    alias Nx.Tensor

    @types for type <- Type.all(), type != :bool, do: type

    @merged for a <- @types,
                b <- @types,
                merged = a |> Type.to_nx() |> Nx.Type.merge(Type.to_nx(b)),
                # MLX lacks that one, and takes c64.
                merged != {:c, 128},
                type(merged) != Type.result_type([a, b]),
                into: %{},
                do: {{a, b}, type(merged)}

    @doc """
    The operands for an operation of MLX whose result has a type of Nx's choice. Beside a number that is too large for the
    type of a tensor it is wider than those of both operands.
    """
    @spec alike(Tensor.t(), Array.t(), Array.t()) :: {Array.t(), Array.t()}
    def alike(out, %Array{type: type} = a, %Array{type: type} = b) do
      wider = type(out)
      if wider != type and Type.class(wider) == Type.class(type), do: {cast(a, wider), cast(b, wider)}, else: {a, b}
    end

    def alike(_out, a, b), do: alike(a, b)

    @doc "The operands for an operation of MLX."
    @spec alike(Array.t(), Array.t()) :: {Array.t(), Array.t()}
    def alike(%Array{type: type} = a, %Array{type: type} = b), do: {a, b}

    def alike(a, b) do
      case Map.get(@merged, {a.type, b.type}) do
        nil -> {a, b}
        merged -> {cast(a, merged), cast(b, merged)}
      end
    end
  end
end
