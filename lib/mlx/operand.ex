defmodule Mlx.Operand do
  @moduledoc false
  # What may stand for an array where the type of another array decides: the values of an update, the value of a pad.

  alias Mlx.{Array, Native, Type}

  @doc """
  An array for `value`. A number takes `type` where that loses nothing: integers always, other numbers when `type` has
  fractions. Lists become arrays.
  """
  @spec of_type(Array.operand() | list(), Type.t()) :: Array.t()
  def of_type(%Array{} = array, _type), do: array
  def of_type(list, _type) when is_list(list), do: Mlx.Creation.array(list)
  def of_type(value, _type) when is_boolean(value), do: Native.scalar(value, :bool)
  def of_type(value, :bool) when is_integer(value), do: Native.scalar(value, :s32)
  def of_type(value, type) when is_integer(value), do: Native.scalar(value, type)
  def of_type(value, type), do: Native.scalar(value, if(Type.fractional?(type), do: type, else: :f32))
end
