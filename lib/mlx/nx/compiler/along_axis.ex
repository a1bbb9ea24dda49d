if Code.ensure_loaded?(Nx) do
  defmodule Mlx.Nx.Compiler.AlongAxis do
    @moduledoc false
    # Nx's gradient of `Nx.take_along_axis/3` adds at indices into all axes, and counts those of all axes but one. MLX has an
    # operation that takes the indices into that one.

    alias Nx.Defn.Expr
    alias Nx.Tensor

    @doc "The indices into the one axis of a tensor of the shape, and this axis."
    @spec indices(Tensor.t(), Nx.Shape.t()) :: {:ok, Tensor.t(), axis :: non_neg_integer()} | :error
    def indices(%Tensor{data: %Expr{op: :reshape, args: [joined]}}, shape),
      do: one_axis(joined, shape, tuple_size(shape))

    def indices(_indices, _shape), do: :error

    defp one_axis(%Tensor{data: %Expr{op: :concatenate, args: [columns, rank]}}, shape, rank)
         when length(columns) == rank do
      case columns |> Enum.with_index() |> Enum.reject(&counted?/1) do
        [{%Tensor{shape: column, data: %Expr{op: :reshape, args: [indices]}}, axis}] ->
          other_axes = Tuple.delete_at(shape, axis)

          if column == Tuple.insert_at(indices.shape, rank, 1) and Tuple.delete_at(indices.shape, axis) == other_axes,
            do: {:ok, indices, axis},
            else: :error

        _several ->
          :error
      end
    end

    defp one_axis(_joined, _shape, _rank), do: :error

    defp counted?({%Tensor{data: %Expr{op: :iota, args: [axis]}}, column}), do: axis == column
    defp counted?(_column), do: false
  end
end
