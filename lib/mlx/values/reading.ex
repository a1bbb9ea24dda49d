defmodule Mlx.Values.Reading do
  @moduledoc false
  # The elements of arrays as terms of Elixir.

  use Mlx.Ops.Topic, title: "Reading values"

  alias Mlx.{Array, Native}
  alias Mlx.Arguments.CalledFunction
  alias Mlx.Values.{Attributes, Computation, TermConversion}

  @doc """
  The bytes of the elements, row after row and in the byte order of the machine. Evaluates the array.

      iex> Mlx.to_binary(Mlx.array([1, 2], type: :u8))
      <<1, 2>>

  The binary of a large array is MLX's own buffer and not a copy, which keeps that buffer alive.

  Python: `bytes(array)`.
  """
  @spec to_binary(Array.t()) :: binary()
  def to_binary(%Array{} = array), do: read(array, "Mlx.to_binary", &Native.to_binary/1)

  defp read(array, function, native) do
    Computation.run(:read, function, [array], fn -> native.(array) end)
  end

  @doc """
  The elements as nested lists of numbers. Evaluates the array.

      iex> Mlx.to_list(Mlx.array([[1.5, :nan], [2, 3]]))
      [[1.5, :nan], [2.0, 3.0]]

  Elements are integers, floats, `true` and `false`, `:nan`, `:infinity`, `:neg_infinity`, and `{real, imaginary}` for
  complex numbers. A float is exactly the element: an `:f32` that prints as `0.1` is `0.10000000149011612`.

  Raises an `ArgumentError` for an array without axes: see `to_number/1`.

  Python: `array.tolist()`.
  """
  @spec to_list(Array.t()) :: list()
  def to_list(array)

  def to_list(%Array{shape: {}}) do
    raise ArgumentError,
          "Mlx.to_list: expected an array with at least one axis, use Mlx.to_number/1 for a single number"
  end

  def to_list(%Array{} = array),
    do: array |> bytes("Mlx.to_list") |> TermConversion.decode(Tuple.to_list(array.shape), array.type)

  @doc """
  The elements as one list, row after row. Evaluates the array.

      iex> Mlx.to_flat_list(Mlx.array([[1, 2], [3, 4]]))
      [1, 2, 3, 4]

  Elements are those of `to_list/1`.

  Python: `array.flatten().tolist()`.
  """
  @spec to_flat_list(Array.t()) :: list()
  def to_flat_list(%Array{} = array),
    do: array |> bytes("Mlx.to_flat_list") |> TermConversion.decode([Attributes.size(array)], array.type)

  defp bytes(array, function) do
    CalledFunction.name(function, ["Mlx.to_binary"], fn -> read(array, function, &Native.to_binary/1) end)
  end

  @doc """
  The element of an array that has only one. Evaluates the array.

      iex> Mlx.to_number(Mlx.sum(Mlx.array([1, 2, 3])))
      6

  The element is one of those that `to_list/1` describes.

  Raises an `ArgumentError` when the array has more elements, or none.

  Python: `array.item()`, `array.tolist()` of an array without axes, `float(array)`, `int(array)`, `bool(array)`.
  """
  @spec to_number(Array.t()) :: Array.scalar() | {Array.scalar(), Array.scalar()}
  def to_number(%Array{} = array) do
    if Attributes.size(array) != 1 do
      raise ArgumentError, "Mlx.to_number: expected an array of one element, got the shape #{inspect(array.shape)}"
    end

    read(array, "Mlx.to_number", &Native.item/1)
  end
end
