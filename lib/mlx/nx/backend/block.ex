if Code.ensure_loaded?(Nx) do
  defmodule Mlx.Nx.Backend.Block do
    @moduledoc false
    # Compositions that Nx names, where MLX has an operation for them. Others are computed as Nx composes them.

    import Mlx.Nx.Backend.Conversion, only: [array: 1, cast: 2, held: 1, result: 3]
    import Mlx.Nx.Backend.ForeignTypes, only: [is_absent: 1]
    import Mlx.NonFinite.Operations, only: [checked: 3]

    alias Mlx.Nx.Backend.{Elementwise, Factorization, Fast, Fourier, Indexing, Logic, Manner, Sorting}
    alias Mlx.{Array, Native, Type}
    alias Mlx.Nx.Block, as: Own
    alias Nx.Block, as: B
    alias Nx.Tensor

    @type output :: Tensor.t() | tuple()

    @spec block(struct(), output(), [term()], fun()) :: output()
    def block(%name{} = block, out, arguments, fun) do
      # Some have no solution, which is raised where they are called.
      manner = arguments |> Manner.of() |> Manner.at_once()

      with true <- Enum.all?(arguments, &computable?/1) and computable?(out),
           {:ok, result} <-
             Manner.run(manner, name, [outputs(out) | arguments], fn -> compute(block, out, arguments, manner) end) do
        result
      else
        _composed -> apply(fun, [block | arguments])
      end
    end

    defp compute(%name{} = block, out, arguments, manner) do
      arrays = Enum.map(arguments, if(is_struct(block, B.Take), do: &held/1, else: &array/1))

      checked inspect(name), arrays do
        with {:ok, result} <- run(block, out, arrays), do: {:ok, give(out, result, manner)}
      end
    end

    defp outputs(%Tensor{} = out), do: [out]
    defp outputs(outs), do: Tuple.to_list(outs)

    defp computable?(%Tensor{} = tensor), do: not is_absent(tensor)
    defp computable?(out), do: is_tuple(out)

    defp give(%Tensor{} = out, result, manner), do: result(out, result, manner)

    defp give(outs, results, manner) when is_tuple(outs) do
      Enum.zip_with(Tuple.to_list(outs), Tuple.to_list(results), &result(&1, &2, manner)) |> List.to_tuple()
    end

    @sums [{B.CumulativeSum, :cumsum_axis}, {B.CumulativeProduct, :cumprod_axis}]
    @extremes [{B.CumulativeMin, :cummin_axis}, {B.CumulativeMax, :cummax_axis}]

    @real [B.LinAlg.Cholesky, B.LinAlg.Solve, B.LinAlg.QR, B.LinAlg.Eigh, B.LinAlg.SVD] ++
            [B.LinAlg.LU, B.LinAlg.Determinant]

    defp run(%name{}, _out, [%Array{type: :c64} | _]) when name in @real, do: :composed
    defp run(%name{}, _out, [_, %Array{type: :c64} | _]) when name in @real, do: :composed

    defp run(%B.LogicalNot{}, _out, [a]), do: {:ok, a |> Logic.truth() |> Native.logical_not(nil)}

    defp run(%B.Phase{}, out, [a]) do
      {:ok, Native.arctan2(Elementwise.imag(out, a), Elementwise.real(out, a), nil)}
    end

    defp run(%B.AllClose{} = block, _out, [a, b]) do
      # The tolerances of integers are those of the wider numbers that Nx compares, and MLX takes infinite complex numbers
      # for different from themselves.
      if Type.class(a.type) == :float and Type.class(b.type) == :float,
        do: {:ok, Native.allclose(a, b, block.rtol, block.atol, block.equal_nan == true, nil)},
        else: :composed
    end

    for {name, native} <- @sums do
      defp run(%unquote(name){axis: axis, reverse: reverse}, _out, [a]) do
        {:ok, Native.unquote(native)(a, axis, reverse, true, nil, nil)}
      end
    end

    # MLX takes NaN of 16 bits for 0.
    for {name, native} <- @extremes do
      defp run(%unquote(name){axis: axis, reverse: reverse}, _out, [a]) do
        a = if a.type in [:f16, :bf16], do: cast(a, :f32), else: a
        {:ok, Native.unquote(native)(a, axis, reverse, true, nil)}
      end
    end

    defp run(%B.Take{axis: axis}, out, [a, indices]), do: {:ok, Indexing.take(out, a, indices, axis)}
    defp run(%B.TakeAlongAxis{axis: axis}, out, [a, i]), do: {:ok, Indexing.take_along_axis(out, a, i, axis)}
    defp run(%B.TopK{k: k}, _out, [a]), do: {:ok, Sorting.top_k(a, k)}
    defp run(%B.FFT2{} = block, out, [a]), do: {:ok, Fourier.fft2(out, a, block)}
    defp run(%B.IFFT2{} = block, out, [a]), do: {:ok, Fourier.ifft2(out, a, block)}
    defp run(%B.RFFT{} = block, out, [a]), do: {:ok, Fourier.rfft(out, a, block)}
    defp run(%B.IRFFT{} = block, out, [a]), do: {:ok, Fourier.irfft(out, a, block)}
    defp run(%B.LinAlg.Cholesky{}, _out, [a]), do: {:ok, Factorization.cholesky(a)}
    defp run(%B.LinAlg.LU{}, out, [a]), do: {:ok, Factorization.lu(out, a)}
    defp run(%B.LinAlg.QR{mode: mode}, _out, [a]), do: {:ok, Factorization.qr(a, mode)}
    defp run(%B.LinAlg.Eigh{}, _out, [a]), do: {:ok, Factorization.eigh(a)}
    defp run(%B.LinAlg.SVD{}, out, [a]), do: {:ok, Factorization.svd(out, a)}
    # Nx has formulas for small matrices, which are exact where a factorisation rounds.
    defp run(%B.LinAlg.Determinant{}, _out, [%Array{shape: shape} = a]) do
      if elem(shape, tuple_size(shape) - 1) > 3, do: {:ok, Factorization.determinant(a)}, else: :composed
    end

    defp run(%B.LinAlg.Solve{}, out, [a, b]), do: {:ok, Factorization.solve(out, a, b)}

    for name <- [Own.RMSNorm, Own.LayerNorm, Own.RoPE, Own.Attention, Own.QuantizedMatmul, Own.Gradient] do
      defp run(%unquote(name){} = block, _out, arrays), do: Fast.run(block, arrays)
    end

    defp run(_block, _out, _arrays), do: :composed
  end
end
