defmodule Mlx.NN.Sizes do
  @moduledoc false
  # Sizes of kernels and steps: one for all axes, or one for each.

  alias Mlx.Arguments.Given

  @doc "A list with one integer, of at least `least`, for each axis. `name` is what was given to `function`."
  @spec per_axis!(term(), pos_integer(), non_neg_integer(), String.t(), String.t()) :: [non_neg_integer()]
  def per_axis!(size, axes, least, name, function) do
    sizes = if is_tuple(size), do: Tuple.to_list(size), else: size
    sizes = if is_integer(sizes), do: List.duplicate(sizes, axes), else: sizes

    if not (is_list(sizes) and length(sizes) == axes and Enum.all?(sizes, &(is_integer(&1) and &1 >= least))) do
      raise ArgumentError,
            "#{function}: expected #{name} to be an integer of at least #{least}#{several(axes)}, got: #{Given.text(size)}"
    end

    sizes
  end

  defp several(1), do: ""
  defp several(axes), do: " or #{axes} of them in a tuple"
end
