defmodule Mlx.Differential.Input do
  @moduledoc """
  An array that a generated call is given: bytes with a name, and often a view of them, so that operations meet arrays
  that are transposed, strided, reversed, repeated or parts of others.

  In a call it is written as an expression of its name, in the syntax of Elixir (`inspect/1`) and of Python
  (`to_string/1`).
  """

  import Mlx.Differential.Draw

  alias Mlx.Differential.{Python, Values}

  @enforce_keys [:name, :type, :shape, :bytes, :stored]
  defstruct [:name, :type, :shape, :bytes, :stored, :view, :values]

  @types Mlx.Type.all()

  @doc """
  A random array. Options: `:shape`, `:type` (one, or a list to choose from; default all), `:values`
  (`Mlx.Differential.Values`, default `:any`), and `:layout` (default a random one; `:plain` for none).
  """
  def random(name, options \\ []) do
    shape = Keyword.get_lazy(options, :shape, &shape/0)
    type = options |> Keyword.get(:type, @types) |> List.wrap() |> one_of()
    layout = Keyword.get_lazy(options, :layout, &layout/0)
    {count, view} = layout(if(0 in Tuple.to_list(shape), do: :plain, else: layout), shape)
    values = Keyword.get(options, :values, :any)

    %__MODULE__{
      name: name,
      type: type,
      shape: shape,
      bytes: Values.bytes(type, count, values),
      stored: if(view, do: {count}, else: shape),
      view: view,
      values: values
    }
  end

  @doc "An array with these elements, a number or nested lists."
  def of(name, elements, type) do
    array = Mlx.array(elements, type: type)
    %__MODULE__{name: name, type: type, shape: array.shape, bytes: Mlx.to_binary(array), stored: array.shape}
  end

  defp layout, do: one_of([:plain, :plain, :plain, :transposed, :strided, :reversed, :repeated, :part])

  # How many elements are stored, and the strides and the offset of the view.
  defp layout(:plain, shape), do: {Tuple.product(shape), nil}

  defp layout(:transposed, shape) do
    order = Enum.shuffle(0..(tuple_size(shape) - 1)//1)
    stored = for axis <- order, do: elem(shape, axis)
    strides = order |> Enum.zip(row_major(stored)) |> Enum.sort() |> Enum.map(&elem(&1, 1))
    {Tuple.product(shape), {strides, 0}}
  end

  defp layout(:strided, shape),
    do: {2 * Tuple.product(shape), {for(stride <- row_major(shape), do: 2 * stride), one_of(0..1)}}

  defp layout(:part, shape) do
    wider = for size <- Tuple.to_list(shape), do: size + 1
    strides = row_major(wider)
    {Enum.product(wider), {strides, one_of([0, Enum.sum(strides)])}}
  end

  defp layout(:reversed, shape) do
    {Tuple.product(shape), {for(stride <- row_major(shape), do: -stride), Tuple.product(shape) - 1}}
  end

  # Along some axes every element is the same one.
  defp layout(:repeated, shape) do
    sizes = for size <- Tuple.to_list(shape), do: if(chance?(2), do: 1, else: size)

    strides =
      Enum.zip_with([sizes, Tuple.to_list(shape), row_major(sizes)], fn
        [n, n, s] -> s
        [_, _, _] -> 0
      end)

    {Enum.product(sizes), {strides, 0}}
  end

  defp row_major(shape) when is_tuple(shape), do: shape |> Tuple.to_list() |> row_major()

  defp row_major(sizes),
    do:
      sizes
      |> Enum.reverse()
      |> Enum.scan(1, &*/2)
      |> then(&Enum.reverse([1 | Enum.drop(&1, -1)]))
      |> Enum.take(-length(sizes))

  @doc "The array of Elixir."
  def build(input), do: view(input, stored(input))

  @doc "The array of Elixir that is stored."
  def stored(input), do: Mlx.from_binary(input.bytes, input.stored, input.type)

  @doc "The view of what is stored."
  def view(%__MODULE__{view: nil}, stored), do: stored

  def view(%__MODULE__{view: {strides, offset}} = input, stored) do
    Mlx.as_strided(stored, input.shape, strides, offset: offset)
  end

  @doc "What the oracle is sent."
  def value(input), do: {input.name, {input.type, input.stored, input.bytes}}

  @doc "How the name is bound in Elixir and in Python."
  def bindings(input) do
    bytes = input.bytes |> Base.encode64() |> inspect(printable_limit: :infinity)

    [
      "#{input.name} = Mlx.from_binary(Base.decode64!(#{bytes}), #{inspect(input.stored)}, #{inspect(input.type)})",
      "#{input.name} = mx.array(bytearray(base64.b64decode(#{bytes})))" <>
        ".view(#{Python.term(input.type)}).reshape(#{Python.term(input.stored)})"
    ]
  end

  @doc "The expression in Elixir."
  def elixir(%__MODULE__{view: nil} = input), do: input.name

  def elixir(%__MODULE__{view: {strides, offset}} = input) do
    strides = inspect(strides, charlists: :as_lists)
    "Mlx.as_strided(#{input.name}, #{inspect(input.shape)}, #{strides}, offset: #{offset})"
  end

  defimpl Inspect do
    def inspect(input, _options), do: Mlx.Differential.Input.elixir(input)
  end

  defimpl String.Chars do
    def to_string(%{view: nil} = input), do: input.name

    def to_string(%{view: {strides, offset}} = input) do
      "mx.as_strided(#{input.name}, #{Python.term(input.shape)}, #{Python.term(strides)}, #{offset})"
    end
  end
end
