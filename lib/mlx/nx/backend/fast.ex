if Code.ensure_loaded?(Nx) do
  defmodule Mlx.Nx.Backend.Fast do
    @moduledoc false
    # The blocks of `Mlx.Nx.Fast`, as operations of MLX.

    alias Mlx.{Array, Native}
    alias Mlx.Nx.Block

    # MLX computes wider ones in `:f32`, too.
    @types [:f16, :bf16, :f32]

    @doc "The result of a block for its arrays, if MLX computes it in full."
    @spec run(struct(), [Array.t()]) :: {:ok, Array.t() | tuple()} | :composed
    def run(block, [%Array{type: type} | _] = arrays) when type in @types, do: {:ok, compute(block, arrays)}
    def run(_block, _arrays), do: :composed

    defp compute(%Block.RMSNorm{eps: eps}, [x | weight]), do: Mlx.Fast.rms_norm(x, List.first(weight), eps: eps)

    defp compute(%Block.LayerNorm{eps: eps} = block, [x | others]) do
      {weight, bias} = Enum.split(others, if(block.weight, do: 1, else: 0))
      Mlx.Fast.layer_norm(x, List.first(weight), List.first(bias), eps: eps)
    end

    defp compute(%Block.RoPE{} = block, [x, offset | frequencies]) do
      options = Map.to_list(Map.take(block, [:traditional, :scale]))

      own =
        case frequencies do
          [frequencies] -> [freqs: frequencies]
          [] -> [base: block.base]
        end

      Mlx.Fast.rope(x, block.dimensions, [offset: offset] ++ own ++ options)
    end

    defp compute(%Block.Attention{scale: scale} = block, [queries, keys, values | others]) do
      {sinks, mask} = Enum.split(others, if(block.sinks, do: 1, else: 0))
      mask = if block.causal, do: :causal, else: mask |> List.first() |> allowed()
      options = [scale: scale, mask: mask, sinks: List.first(sinks)]
      Mlx.Fast.scaled_dot_product_attention(queries, keys, values, options)
    end

    defp compute(%Block.QuantizedMatmul{} = block, [x, weights, scales, biases]) do
      Mlx.quantized_matmul(x, weights, scales, biases, block |> Map.from_struct() |> Map.to_list())
    end

    defp compute(%Block.Gradient{of: block, count: count}, arrays) do
      {primals, rest} = Enum.split(arrays, count)
      {others, [gradient]} = Enum.split(rest, -1)
      fun = Mlx.Arguments.Arity.function(count, &compute(block, &1 ++ others))
      {_value, gradients} = Mlx.vjp(fun, primals, gradient)
      List.to_tuple(gradients)
    end

    # What is not added to the scores is true or false.
    defp allowed(%Array{type: :u8} = mask), do: Native.astype(mask, :bool, nil)
    defp allowed(mask), do: mask
  end
end
