if Code.ensure_loaded?(Nx) do
  defmodule Mlx.Nx do
    @moduledoc """
    Arrays as tensors of Nx, and tensors as arrays.

    Both hold the same memory: nothing is copied.

    ## Quantized tensors

    `quantize/2` gives a tensor whose numbers are held in a few bits each. For Nx it is as any other, of the same shape and
    type, and can be one of the parameters of a model:

        kernels = Map.new(parameters, fn {name, kernel} -> {name, Mlx.Nx.quantize(kernel, axis: 0)} end)

    | what is done with it | |
    | --- | --- |
    | `Nx.dot/6` and what is made of it, such as a dense layer of Axon and its gradient | one operation of MLX, which unpacks no matrix: as with `Mlx.quantized_matmul/5` |
    | `Nx.take/3` along an axis that is not the packed one, as in an embedding | takes packed rows, and unpacks these |
    | `Nx.as_type/2` to `f16`, `bf16` or `f32`, `Nx.backend_copy/2` and `Nx.backend_transfer/2` to `Mlx.Backend` | a quantized tensor |
    | every other operation, `Nx.to_binary/1`, `Nx.serialize/2`, other backends | computes with its numbers, in a tensor that is not quantized |

    `Nx.dot/6` needs the packed axis to be summed over, or to be the last of those that stay, and a result of `f16`, `bf16` or
    `f32`. Other products are computed of the numbers, too, with the same values.

    `Mlx.Compiler` and Nx's evaluator handle quantized arguments alike. In a `while` or a `cond` they stay quantized, and a
    definition that returns one as it is returns it quantized. A gradient with respect to a quantized tensor is that of its
    numbers, and is not quantized.

    ## In definitions

    `einsum/2` and the functions of `Mlx.Nx.Fast` are for tensors of any backend, also inside `defn`.
    """

    use Mlx.Arguments.Mismatch

    import Nx.Defn, only: [deftransform: 2]

    alias Mlx.{Array, Native, Type}
    alias Mlx.Arguments.Options
    alias Mlx.Nx.{Einsum, Quantization}
    alias Mlx.Nx.Backend.{Conversion, Manner}

    @doc """
    The array as a tensor of `Mlx.Backend`. Booleans become `u8`.

        iex> Mlx.Nx.to_nx(Mlx.array([1, 2])) |> Nx.add(1) |> Nx.to_list()
        [2, 3]

    Options:

      * `:names` - the names of the axes
      * `:lazy` - see `Mlx.Backend`, default false

    Not in Python.
    """
    @spec to_nx(Array.t(), keyword()) :: Nx.Tensor.t()
    def to_nx(array, options \\ [])

    def to_nx(%Array{} = array, options) do
      [names, lazy] = Options.without_stream(options, :"Nx.to_nx", names: nil, lazy: false)
      out = Nx.template(array.shape, Type.to_nx(array.type), names: names)
      Conversion.result(out, bytes(array), Manner.of_graph(lazy))
    end

    # A boolean is a byte that is 0 or 1.
    defp bytes(%Array{type: :bool} = array), do: Native.view(array, :u8, nil)
    defp bytes(array), do: array

    @doc """
    The tensor as an array. One of another backend is copied, and a vectorized one has its vectorized axes first.

        iex> Nx.tensor([[1.5, 2.0]], backend: Mlx.Backend) |> Mlx.Nx.from_nx() |> Mlx.sum() |> Mlx.to_number()
        3.5

    Not in Python.
    """
    @spec from_nx(Nx.Tensor.t()) :: Array.t()
    def from_nx(%Nx.Tensor{} = tensor), do: tensor |> Nx.devectorize(keep_names: false) |> Conversion.array()

    @doc """
    The tensor in quantized form, with its shape, names and type: see "Quantized tensors" above. One of another backend is
    copied.

    Options:

      * `:axis` - the axis along which numbers are packed and form groups, an index or a name, default -1. For the kernels of
        Axon's layers, `{inputs, outputs}`, 0 is the one that MLX multiplies by soonest
      * `:mode`, `:group_size`, `:bits` - those of `Mlx.quantize/2`

    Examples:

        iex> kernel = Nx.iota({64, 8}, type: :f32, backend: Mlx.Backend)
        iex> quantized = Mlx.Nx.quantize(kernel, axis: 0, bits: 8)
        iex> {quantized.shape, quantized.type, Mlx.Nx.quantized?(quantized)}
        {{64, 8}, {:f, 32}, true}
        iex> Nx.dot(Nx.broadcast(1.0, {2, 64}), quantized) |> Nx.shape()
        {2, 8}

    Raises an `ArgumentError` for a tensor that is not of `f16`, `bf16` or `f32`, for fewer than two axes, for an axis whose
    size is no multiple of the group size, and inside of `defn`.

    Python: `mlx.core.quantize`, which gives arrays: see `to_quantized/1`.
    """
    @spec quantize(Nx.Tensor.t(), keyword()) :: Nx.Tensor.t()
    def quantize(tensor, options \\ [])
    def quantize(%Nx.Tensor{} = tensor, options), do: Quantization.quantize(tensor, options)

    @doc """
    The tensor with the numbers that `quantize/2` packed, which are about those that it was given. A tensor that is not
    quantized is returned as it is, and so is one inside of `defn`.

        iex> x = Nx.tensor([[0.0, 1.0]], backend: Mlx.Backend) |> Nx.tile([1, 32])
        iex> x |> Mlx.Nx.quantize() |> Mlx.Nx.dequantize() |> Nx.sum() |> Nx.to_number()
        32.0

    Python: `mlx.core.dequantize`.
    """
    @spec dequantize(Nx.Tensor.t()) :: Nx.Tensor.t()
    def dequantize(%Nx.Tensor{} = tensor), do: Quantization.dequantize(tensor)

    @doc """
    Whether the tensor is in quantized form.

        iex> Mlx.Nx.quantized?(Nx.tensor([1.0], backend: Mlx.Backend))
        false

    Not in Python.
    """
    @spec quantized?(Nx.Tensor.t()) :: boolean()
    def quantized?(%Nx.Tensor{} = tensor), do: Quantization.quantized?(tensor)

    @doc """
    The quantized tensor of the arrays that `Mlx.quantize/2` gives, such as those of a file: `{weights, scales, biases}` in the
    mode `:affine`, `{weights, scales}` in others.

    Options:

      * `:mode`, `:group_size`, `:bits` - those that they were quantized with; see `Mlx.quantize/2`
      * `:axis` - where the packed axis, which is the last one of the arrays, is in the tensor, default -1. 0 makes a kernel
        `{inputs, outputs}` of weights `{outputs, inputs}`, as other languages store them
      * `:names` - the names of the axes
      * `:type` - of the numbers, by default that of the scales or `:bf16`

    Examples:

        iex> weights = Mlx.quantize(Mlx.ones({8, 64}), bits: 8)
        iex> Mlx.Nx.from_quantized(weights, bits: 8, axis: 0).shape
        {64, 8}

    Raises an `ArgumentError` for arrays that do not belong together.

    Not in Python.
    """
    @spec from_quantized({Array.t(), Array.t(), Array.t()} | {Array.t(), Array.t()}, keyword()) :: Nx.Tensor.t()
    defdelegate from_quantized(arrays, options \\ []), to: Quantization, as: :from_arrays

    @doc """
    The arrays of a quantized tensor, as `Mlx.quantize/2` gives them of the tensor with the packed axis as its last one.
    `from_quantized/2` makes the tensor of them again: so it can be stored, as by `Mlx.IO`.

        iex> {weights, _scales, _biases} = Mlx.Nx.to_quantized(Mlx.Nx.quantize(Nx.broadcast(1.0, {8, 64})))
        iex> {weights.shape, weights.type}
        {{8, 8}, :u32}

    Raises an `ArgumentError` for a tensor that is not quantized.

    Not in Python.
    """
    @spec to_quantized(Nx.Tensor.t()) :: {Array.t(), Array.t(), Array.t()} | {Array.t(), Array.t()}
    def to_quantized(%Nx.Tensor{} = tensor), do: Quantization.to_arrays(tensor)

    @doc """
    The sum over products that a subscript string describes (Einstein notation), of tensors of any backend.

    Each tensor has a letter for each of its axes. Letters that several have belong together; those that the result behind
    the arrow lacks are summed over. `...` stands for all other axes. Without an arrow the result has the letters that occur
    once, in the order of the alphabet. A letter that one tensor has twice takes its diagonal. Axes of size 1 are broadcast.

    It is made of functions of Nx, most of all `Nx.dot/6`, in an order that keeps what comes in between small. So it can be
    called inside `defn`, and has gradients.

        iex> a = Nx.tensor([[1.0, 2.0], [3.0, 4.0]])
        iex> Mlx.Nx.einsum("ij,kj->ik", [a, a]) |> Nx.to_list()
        [[5.0, 11.0], [11.0, 25.0]]

        iex> Mlx.Nx.einsum("ii", [Nx.tensor([[1, 2], [3, 4]])]) |> Nx.to_number()
        5

    Raises an `ArgumentError` when the subscripts do not fit the tensors.

    Python: `mlx.core.einsum`; the counterpart for arrays is `Mlx.einsum/2`.
    """
    @spec einsum(String.t(), [Nx.Tensor.t()]) :: Nx.Tensor.t()
    deftransform einsum(subscripts, tensors) when is_binary(subscripts) and length(tensors) >= 0 do
      Einsum.compute(subscripts, Enum.map(tensors, &Nx.to_tensor/1))
    end
  end
end
