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

    @doc """
    The array as a tensor like the template, which is not evaluated. Its type is that of the array, which may be another one:
    see `Mlx.Compiler.Loop`.
    """
    @spec tensor(Tensor.t(), Array.t()) :: Tensor.t()
    def tensor(%Tensor{} = template, %Array{type: type} = array) do
      %Tensor{} = template = Nx.devectorize(template)
      own = if Conversion.type(template.type) == type, do: template.type, else: Type.to_nx(type)
      %{template | type: own, data: %Backend{array: array, lazy: true}}
    end

    @doc "The tensors of a container with the types of others."
    @spec alike(Nx.Container.t(), [Tensor.t()]) :: [Tensor.t()]
    def alike(composite, templates) do
      [composite]
      |> Composite.flatten_list()
      |> Enum.zip_with(templates, fn tensor, template ->
        tensor(template, tensor |> Conversion.array() |> Conversion.cast(Conversion.type(template)))
      end)
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
