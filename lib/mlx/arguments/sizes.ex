defmodule Mlx.Arguments.Sizes do
  @moduledoc false
  # Shapes as they are given to functions: a tuple or a list of sizes, or the size of the only axis.

  alias Mlx.Array
  alias Mlx.Arguments.Given

  @doc "The shape that was given to a function of `Mlx`."
  @spec shape!(Array.sizes(), atom()) :: Array.shape()
  def shape!(sizes, function) do
    sizes |> list!(function) |> Enum.each(&size!(&1, sizes, function))
    if is_tuple(sizes), do: sizes, else: List.to_tuple(List.wrap(sizes))
  end

  @doc "The same for sizes of which one, `-1` or `:auto`, is found from the others. It is -1 in the result."
  @spec shape_to_complete!(Array.sizes() | :auto, atom()) :: tuple()
  def shape_to_complete!(sizes, function) do
    found = for size <- list!(sizes, function), do: if(size in [-1, :auto], do: -1, else: size!(size, sizes, function))

    if Enum.count(found, &(&1 == -1)) > 1 do
      raise ArgumentError, "Mlx.#{function}: expected one size to find from the others, got: #{Given.text(sizes)}"
    end

    List.to_tuple(found)
  end

  defp list!(tuple, _function) when is_tuple(tuple), do: Tuple.to_list(tuple)
  defp list!(size, _function) when is_integer(size) or size == :auto, do: [size]

  defp list!(list, function) when is_list(list) do
    if List.improper?(list), do: no_shape!(list, function), else: list
  end

  defp list!(other, function), do: no_shape!(other, function)

  # MLX has no others.
  @integers_of_32_bits -0x80000000..0x7FFFFFFF

  defp size!(size, _sizes, function) when is_integer(size) and size not in @integers_of_32_bits do
    raise ArgumentError, "Mlx.#{function}: the size #{size} is no integer of 32 bits"
  end

  defp size!(size, _sizes, _function) when is_integer(size) and size >= 0, do: size

  defp size!(size, sizes, function) do
    raise ArgumentError, "Mlx.#{function}: #{Given.text(size)} in #{Given.text(sizes)} is not a size"
  end

  defp no_shape!(other, function) do
    raise ArgumentError, "Mlx.#{function}: expected a shape such as {2, 3}, got: #{Given.text(other)}"
  end
end
