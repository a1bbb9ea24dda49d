if Code.ensure_loaded?(Nx) do
  defmodule Mlx.Compiler.Tensors do
    @moduledoc false
    # Tensors of expressions as arrays of a program that is recorded, and back.

    alias Mlx.{Array, Backend, Recording, Type}
    alias Mlx.Backend.Conversion
    alias Nx.Defn.Composite
    alias Nx.Tensor

    @type kind :: {tuple(), Type.t()}

    @doc "The shape, with vectorized axes first, and the type of the array of a tensor."
    @spec kind(Tensor.t()) :: kind()
    def kind(%Tensor{} = tensor) do
      %Tensor{shape: shape, type: type} = Nx.devectorize(tensor, keep_names: false)
      {shape, Conversion.type(type)}
    end

    @doc "The array as a tensor like the template, which is not evaluated."
    @spec tensor(Tensor.t(), Array.t()) :: Tensor.t()
    def tensor(%Tensor{} = template, %Array{} = array) do
      %{Nx.devectorize(template) | data: %Backend{array: array, lazy: true}}
    end

    @doc "The arrays of a container or of a tuple of tensors, in order."
    @spec arrays(term()) :: [Array.t()]
    def arrays(composite), do: for(tensor <- Composite.flatten_list([composite]), do: Conversion.array(tensor))

    @doc "A program of what the function returns, and what it captured. The function gets an array of each kind."
    @spec record(String.t(), [kind()], ([Array.t()] -> term())) :: {reference(), [Array.t()]}
    def record(name, kinds, fun) do
      recorded = Recording.of_arrays(name, kinds, &(&1 |> fun.() |> arrays()))
      {recorded.program, recorded.captured}
    end
  end
end
