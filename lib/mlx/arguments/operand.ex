defmodule Mlx.Arguments.Operand do
  @moduledoc false
  # What operations ask of their operands: that numbers become arrays of the type of the array beside them, where MLX has
  # no rule for it (the values of an update, the value of a pad), that they are arrays, and that there are elements.

  alias Mlx.{Array, Native, Type}
  alias Mlx.Arguments.{CalledFunction, Given}

  @doc "The array that was given to a function of `Mlx`, whose shape or type it needs. Raises for anything else."
  @spec array!(term(), atom()) :: Array.t()
  def array!(%Array{} = array, _function), do: array

  def array!(other, function) do
    raise ArgumentError,
          "Mlx.#{function}: expected an Mlx.Array, got: #{Given.text(other)}#{Given.hint(other)}"
  end

  @doc """
  Raises unless every array has elements. For operations that divide by a size inside MLX.
  """
  @spec elements!([Array.t() | nil], atom()) :: :ok
  def elements!(arrays, function) do
    for %Array{shape: shape} <- arrays, Tuple.product(shape) == 0 do
      raise ArgumentError, "Mlx.#{function}: an array of shape #{inspect(shape)} has no elements"
    end

    :ok
  end

  @doc """
  An array for `value`, given to a function of `Mlx`. A number takes `type` where that loses nothing: integers always,
  other numbers when `type` has fractions. Lists become arrays.
  """
  @spec of_type(Array.operand() | list(), Type.t(), atom()) :: Array.t()
  def of_type(%Array{} = array, _type, _function), do: array

  def of_type(value, type, function) do
    CalledFunction.name("Mlx.#{function}", ["Mlx.array", "Mlx.scalar"], fn -> made(value, type) end)
  end

  defp made(list, _type) when is_list(list), do: Mlx.Ops.Creation.array(list)
  defp made(value, _type) when is_boolean(value), do: Native.scalar(value, :bool)
  defp made(value, :bool) when is_integer(value), do: Native.scalar(value, :s32)
  defp made(value, type) when is_integer(value), do: Native.scalar(value, type)
  defp made(value, type), do: Native.scalar(value, if(Type.fractional?(type), do: type, else: :f32))
end
