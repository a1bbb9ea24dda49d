if Code.ensure_loaded?(Nx) do
  defmodule Mlx.Nx.Backend.Reduction do
    @moduledoc false
    # Many numbers into one.

    import Mlx.Nx.Backend.Conversion, only: [cast: 2, shaped: 2, type: 1]

    alias Mlx.{Array, Native, Type}
    alias Mlx.Nx.Backend.Logic
    alias Nx.Tensor

    @spec all(Tensor.t(), Array.t(), keyword()) :: Array.t()
    def all(out, array, options), do: array |> Logic.truth() |> cast(:bool) |> over(options, out, &Native.all_axes/4)

    @spec any(Tensor.t(), Array.t(), keyword()) :: Array.t()
    def any(out, array, options), do: array |> Logic.truth() |> cast(:bool) |> over(options, out, &Native.any_axes/4)

    @spec reduce_max(Tensor.t(), Array.t(), keyword()) :: Array.t()
    def reduce_max(out, array, options), do: over(array, options, out, &Native.max_axes/4)

    @spec reduce_min(Tensor.t(), Array.t(), keyword()) :: Array.t()
    def reduce_min(out, array, options), do: over(array, options, out, &Native.min_axes/4)

    @spec sum(Tensor.t(), Array.t(), keyword()) :: Array.t()
    def sum(out, array, options), do: array |> accumulated(out) |> over(options, out, &Native.sum_axes/4)

    @spec product(Tensor.t(), Array.t(), keyword()) :: Array.t()
    def product(out, array, options), do: array |> accumulated(out) |> over(options, out, &Native.prod_axes/4)

    @doc "The array with the type in which its sums are accumulated for a result like `out`."
    @spec accumulated(Array.t(), Tensor.t()) :: Array.t()
    def accumulated(array, out) do
      case type(out) do
        type when type in [:f16, :bf16] -> cast(array, :f32)
        type -> cast(array, type)
      end
    end

    defp over(array, options, out, native) do
      axes = options[:axes] || Enum.to_list(0..(tuple_size(array.shape) - 1)//1)
      reduced = if axes == [], do: array, else: native.(array, axes, false, nil)
      shaped(reduced, out.shape)
    end

    for {name, native, extreme} <- [{:argmax, :argmax_axis, :max_axis}, {:argmin, :argmin_axis, :min_axis}] do
      @spec unquote(name)(Tensor.t(), Array.t(), keyword()) :: Array.t()
      def unquote(name)(out, array, options) do
        axis = options[:axis] || 0
        array = if options[:axis], do: array, else: Native.reshape(array, {Tuple.product(array.shape)}, nil)

        array = if options[:tie_break] == :high, do: Native.flip_axis(array, axis, nil), else: array

        array
        |> first(axis, options[:tie_break], &(Native.unquote(native) / 4), &(Native.unquote(extreme) / 4))
        |> from_front(elem(array.shape, axis), options[:tie_break])
        |> shaped(out.shape)
      end
    end

    # MLX gives the first position of the extreme. NaN, which it passes over, is the extreme here, and the last one counts.
    defp first(%Array{type: type} = array, axis, tie_break, native, extreme) do
      if Type.fractional?(type) do
        array |> ranked(axis, tie_break, extreme) |> Native.argmax_axis(axis, false, nil)
      else
        native.(array, axis, false, nil)
      end
    end

    # 1 for the extreme, and more for NaN.
    defp ranked(array, axis, tie_break, extreme) do
      equal = array |> Native.equal(extreme.(array, axis, true, nil), nil) |> cast(:s32)
      rank = if tie_break == :low, do: counted(array, axis), else: Native.scalar(2, :s32)
      Native.where(Native.isnan(array, nil), rank, equal, nil)
    end

    defp counted(%Array{shape: shape}, axis) do
      size = elem(shape, axis)
      sizes = put_elem(Tuple.duplicate(1, tuple_size(shape)), axis, size)
      2 |> Native.arange(size + 2, 1, :s32, nil) |> Native.reshape(sizes, nil)
    end

    # Where the array is reversed, the first position is the last.
    defp from_front(position, _size, :low), do: position
    defp from_front(position, size, :high), do: Native.subtract(size - 1, cast(position, :s32), nil)
  end
end
