if Code.ensure_loaded?(Nx) do
  defmodule Mlx.Nx do
    @moduledoc """
    Arrays as tensors of Nx, and tensors as arrays.

    Both hold the same memory: nothing is copied.
    """

    alias Mlx.{Array, Native, Type}
    alias Mlx.Backend.Conversion

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
  end
end
