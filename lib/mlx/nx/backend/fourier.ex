if Code.ensure_loaded?(Nx) do
  defmodule Mlx.Nx.Backend.Fourier do
    @moduledoc false
    # Discrete Fourier transforms. Parts of results that are smaller than `eps` become 0.

    alias Mlx.{Array, Native}
    alias Nx.Tensor

    @norm :backward

    @spec fft(Tensor.t(), Array.t(), keyword()) :: Array.t()
    def fft(_out, array, options),
      do: one(array, &Native.fft_fft/5, options[:length], options[:axis], options[:eps])

    @spec ifft(Tensor.t(), Array.t(), keyword()) :: Array.t()
    def ifft(_out, array, options),
      do: one(array, &Native.fft_ifft/5, options[:length], options[:axis], options[:eps])

    @spec rfft(Tensor.t(), Array.t(), struct()) :: Array.t()
    def rfft(_out, array, block), do: one(array, &Native.fft_rfft/5, block.length, block.axis, block.eps)

    @spec irfft(Tensor.t(), Array.t(), struct()) :: Array.t()
    def irfft(_out, array, block), do: one(array, &Native.fft_irfft/5, block.length, block.axis, block.eps)

    @spec fft2(Tensor.t(), Array.t(), struct()) :: Array.t()
    def fft2(_out, array, block), do: two(array, &Native.fft_fft2/5, block)

    @spec ifft2(Tensor.t(), Array.t(), struct()) :: Array.t()
    def ifft2(_out, array, block), do: two(array, &Native.fft_ifft2/5, block)

    defp one(array, native, length, axis, eps) do
      array |> native.(length, axis, @norm, nil) |> clean(eps)
    end

    defp two(array, native, block) do
      array |> native.(block.lengths, block.axes, @norm, nil) |> clean(block.eps)
    end

    # A complex number is two numbers in a row.
    defp clean(%Array{type: :c64} = array, eps) do
      array |> Native.view(:f32, nil) |> clean(eps) |> Native.view(:c64, nil)
    end

    defp clean(array, eps) do
      small = array |> Native.abs(nil) |> Native.less_equal(eps, nil)
      Native.where(small, Native.scalar(0, array.type), array, nil)
    end
  end
end
