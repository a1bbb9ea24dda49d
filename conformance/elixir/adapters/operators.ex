defmodule Mlx.Conformance.Operators do
  @moduledoc """
  Adapters for operations on two operands.
  """

  alias Mlx.Conformance.{PythonError, Value}

  @doc "Two operands: a number or an array of numpy takes the type of the array beside it."
  def pair(call, %{a: a, b: b}, options), do: call.(operands(a, b), options)

  @doc "A binary operator: what cannot be an operand is a `ValueError`."
  def operator(call, %{self: self, other: other}, options), do: call.(comparable(self, other), options)

  @doc "The same with the operands exchanged."
  def reflected(call, %{self: self, other: other}, options) do
    call.(Enum.reverse(comparable(self, other)), options)
  end

  @doc "A bitwise operator, which is logical between booleans."
  def bitwise(%{bool: bool}) do
    fn call, %{self: self, other: other}, options ->
      case comparable(self, other) do
        [%{type: :bool} = a, %{type: :bool} = b] -> bool.(a, b)
        [%{type: :bool} = a, b] when is_boolean(b) -> bool.(a, b)
        operands -> call.(integers(operands), options)
      end
    end
  end

  @doc "`==` and `!=`, which answer for what cannot be compared."
  def equality(answer) do
    fn call, %{self: self, other: other}, options ->
      if comparable?(other), do: call.(operands(self, other), options), else: answer
    end
  end

  @doc "`x /= y`, which keeps the type of `x`."
  def divide_in_place(call, %{self: self} = bound, options) do
    unless Mlx.Type.fractional?(self.type), do: PythonError.value_error!("integers cannot be divided in place")
    operator(call, bound, options)
  end

  @doc "What `Mlx` takes for a value that stands beside an array of a type."
  def operand({:buffer, _array} = buffer, type), do: Value.array(buffer, type)
  def operand({:complex, real, imaginary}, _type), do: Mlx.array({real, imaginary})

  def operand(value, _type) do
    if comparable?(value), do: value, else: PythonError.type_error!("no operand: #{inspect(value)}")
  end

  defp comparable?(%Mlx.Array{}), do: true
  defp comparable?({:buffer, _array}), do: true
  defp comparable?({:complex, _, _}), do: true
  defp comparable?(value), do: is_number(value) or is_boolean(value) or value in [:nan, :infinity, :neg_infinity]

  defp comparable(self, other) do
    if comparable?(other), do: operands(self, other), else: PythonError.value_error!("no operand: #{inspect(other)}")
  end

  defp operands(%Mlx.Array{} = a, b), do: [a, operand(b, a.type)]
  defp operands(a, %Mlx.Array{} = b), do: [operand(a, b.type), b]
  defp operands(a, b), do: [operand(a, nil), operand(b, nil)]

  defp integers(operands) do
    if Enum.any?(operands, &(is_float(&1) or (is_struct(&1) and Mlx.Type.fractional?(&1.type)))) do
      PythonError.value_error!("bitwise operators take integers and booleans")
    end

    operands
  end
end
