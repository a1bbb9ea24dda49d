if Code.ensure_loaded?(Nx) do
  defmodule Mlx.Nx do
    @moduledoc """
    Arrays as tensors of Nx, and tensors as arrays.

    Both hold the same memory: nothing is copied.

    `einsum/2` and the functions of `Mlx.Nx.Fast` are for tensors of any backend, also inside `defn`.
    """

    import Nx.Defn, only: [deftransform: 2]

    alias Mlx.{Array, Native, Type}
    alias Mlx.Backend.Conversion
    alias Mlx.Nx.Einsum

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
    def to_nx(%Array{} = array, options \\ []) do
      options = Keyword.validate!(options, [:names, lazy: false])
      out = Nx.template(array.shape, Type.to_nx(array.type), names: options[:names])
      Conversion.result(out, bytes(array), {options[:lazy], nil})
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
    deftransform einsum(subscripts, tensors) do
      Einsum.compute(subscripts, Enum.map(tensors, &Nx.to_tensor/1))
    end
  end
end
