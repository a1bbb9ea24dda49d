defmodule Mlx.NonFinite.Search do
  @moduledoc false
  # The elements of an array that are not finite.

  alias Mlx.{Array, Native, Stream, Type}
  alias Mlx.Values.Reading

  @doc """
  What a `Mlx.NonFiniteError` says of the first element of one of the kinds, or nil when there is none. The array is
  evaluated.
  """
  @spec first(Array.t(), [Mlx.NonFinite.kind()]) :: keyword() | nil
  def first(%Array{} = array, kinds) do
    if holds_fractions?(array) and 0 not in Tuple.to_list(array.shape) do
      array = untraced(array)
      if not all_finite?(array), do: Enum.find_value(kinds, &describe(array, &1))
    end
  end

  defp holds_fractions?(%Array{type: type}), do: Type.class(type) in [:float, :complex]

  # Of what is computed here nothing belongs to a function that is recorded.
  defp untraced(array) do
    if Native.is_traced([array]),
      do: array |> Native.to_binary() |> Native.from_binary(array.shape, array.type),
      else: array
  end

  defp all_finite?(array) do
    stream = Stream.for_type(nil, array.type)
    array |> Native.isfinite(stream) |> Native.all(false, stream) |> Native.item()
  end

  defp describe(array, kind) do
    stream = Stream.for_type(nil, array.type)
    mask = array |> mask(kind, stream) |> Native.reshape({-1}, stream)

    if mask |> Native.any(false, stream) |> Native.item() do
      index = mask |> Native.argmax(false, stream) |> Native.item()
      element = array |> Native.reshape({-1}, stream) |> Native.take_axis(index, 0, stream) |> Reading.to_number()
      [kind: kind, element: element, position: position(index, array.shape), shape: array.shape, type: array.type]
    end
  end

  defp mask(array, :nan, stream), do: Native.isnan(array, stream)
  defp mask(array, :infinity, stream), do: Native.isinf(array, stream)

  defp position(index, shape) do
    {position, 0} =
      shape
      |> Tuple.to_list()
      |> List.foldr({[], index}, fn size, {inner, index} -> {[rem(index, size) | inner], div(index, size)} end)

    position
  end
end
