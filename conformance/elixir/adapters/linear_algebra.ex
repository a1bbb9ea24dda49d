defmodule Mlx.Conformance.LinearAlgebra do
  @moduledoc """
  Adapters for `mlx.core.linalg` and for sums of products.
  """

  alias Mlx.Conformance.PythonError

  @orders %{fro: :frobenius, nuc: :nuclear}

  @doc "`norm(a, ord, axis, keepdims)`, whose orders have names."
  def norm(call, %{a: a, ord: order}, options) do
    call.([a], if(order, do: [{:ord, Map.get(@orders, order, order)} | options], else: options))
  end

  @doc "`eigh(a, UPLO)`: the triangle that is read."
  def hermitian(call, %{a: a, UPLO: triangle}, options) when triangle in ["L", "U"] do
    call.([a], [{:upper, triangle == "U"} | options])
  end

  def hermitian(_call, %{UPLO: triangle}, _options), do: PythonError.value_error!("UPLO is L or U, not #{triangle}")

  @doc "`einsum(subscripts, *operands)`."
  def einsum(call, %{subscripts: subscripts, operands: operands}, options), do: call.([subscripts, operands], options)

  @doc "`tensordot(a, b, axes)`: how many axes, or which."
  def tensordot(call, %{a: a, b: b, axes: axes}, options) do
    case axes do
      count when is_integer(count) -> call.([a, b], [{:axes, count} | options])
      {:tuple, axes} -> tensordot(call, %{a: a, b: b, axes: axes}, options)
      [axes_of_a, axes_of_b] -> call.([a, b], [{:axes, {elements(axes_of_a), elements(axes_of_b)}} | options])
    end
  end

  defp elements({:tuple, elements}), do: elements
  defp elements(elements), do: elements
end
