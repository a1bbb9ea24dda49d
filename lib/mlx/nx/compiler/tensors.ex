if Code.ensure_loaded?(Nx) do
  defmodule Mlx.Nx.Compiler.Tensors do
    @moduledoc false
    # Tensors of expressions as arrays of a program that is recorded, and back.

    alias Mlx.{Array, Backend, Type}
    alias Mlx.Nx.Backend.{Conversion, Quantized}
    alias Mlx.Transforms.Recording
    alias Nx.Defn.Composite
    alias Nx.Tensor

    @type kind :: {tuple(), Type.t()}
    @type form :: Quantized.form() | nil

    @doc "The shape, with vectorized axes first, and the type of the array of a tensor."
    @spec kind(Tensor.t()) :: kind()
    def kind(%Tensor{} = tensor) do
      %Tensor{shape: shape, type: type} = Nx.devectorize(tensor, keep_names: false)
      {shape, Conversion.type(type)}
    end

    @doc "What a program is recorded for in the place of a tensor: nil for one that is not quantized."
    @spec form(Tensor.t()) :: form()
    def form(%Tensor{data: %Backend{array: %Quantized{} = quantized}}), do: Quantized.form(quantized)
    def form(_tensor), do: nil

    @doc "The kinds of the arrays of a tensor of this form."
    @spec kinds(Tensor.t(), form()) :: [kind()]
    def kinds(tensor, nil), do: [kind(tensor)]
    def kinds(_tensor, %Quantized{arrays: kinds}), do: kinds

    @doc "The arrays of a tensor, those of its form."
    @spec held(Tensor.t()) :: [Array.t()]
    def held(tensor) do
      case Conversion.held(tensor) do
        %Array{} = array -> [array]
        %Quantized{arrays: arrays} -> arrays
      end
    end

    @doc "The tensor of a form that the first of the arrays are, and the other arrays."
    @spec take(Tensor.t(), form(), [Array.t()]) :: {Tensor.t(), [Array.t()]}
    def take(template, nil, [array | rest]), do: {tensor(template, array), rest}

    def take(template, %Quantized{arrays: kinds} = form, arrays) do
      {own, rest} = Enum.split(arrays, length(kinds))
      {tensor(template, %{form | arrays: own}), rest}
    end

    @doc """
    The array as a tensor like the template, which is not evaluated. Its type is that of the array, which may be another one:
    see `Mlx.Nx.Compiler.Loop`.
    """
    @spec tensor(Tensor.t(), Array.t() | Quantized.t()) :: Tensor.t()
    def tensor(%Tensor{} = template, %Quantized{} = quantized) do
      %Tensor{} = template = Nx.devectorize(template)
      %{template | data: %Backend{array: quantized, lazy: true}}
    end

    def tensor(%Tensor{} = template, %Array{type: type} = array) do
      %Tensor{} = template = Nx.devectorize(template)
      own = if Conversion.type(template.type) == type, do: template.type, else: Type.to_nx(type)
      %{template | type: own, data: %Backend{array: array, lazy: true}}
    end

    @doc "Tensors with the types of others."
    @spec alike([Tensor.t()], [Tensor.t()]) :: [Tensor.t()]
    def alike(tensors, templates) do
      Enum.zip_with(tensors, templates, fn tensor, template ->
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
