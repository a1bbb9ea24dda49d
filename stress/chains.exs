defmodule Mlx.Stress.Chains do
  @moduledoc false
  # Chains of elementwise operations on integers whose values are known, each of which is a kernel of its own when compiled.

  @length 8

  @type t :: [{0..5, 1..9}]

  @doc "Operations that hardly any chain before had in this order."
  @spec random() :: t()
  def random, do: for(_ <- 1..@length, do: {Enum.random(0..5), :rand.uniform(9)})

  @doc "The array after the operations."
  @spec apply_to(t(), Mlx.Array.t()) :: Mlx.Array.t()
  def apply_to(chain, array), do: Enum.reduce(chain, array, &operation/2)

  @doc "The number after the operations."
  @spec value(t(), number()) :: number()
  def value(chain, number), do: Enum.reduce(chain, number, &number/2)

  defp operation({0, by}, x), do: Mlx.add(x, by)
  defp operation({1, by}, x), do: Mlx.subtract(by, x)
  defp operation({2, _}, x), do: Mlx.multiply(x, 3)
  defp operation({3, by}, x), do: Mlx.max(x, by)
  defp operation({4, _}, x), do: Mlx.abs(x)
  defp operation({5, by}, x), do: Mlx.min(x, 1000 * by)

  defp number({0, by}, x), do: x + by
  defp number({1, by}, x), do: by - x
  defp number({2, _}, x), do: x * 3
  defp number({3, by}, x), do: max(x, by)
  defp number({4, _}, x), do: abs(x)
  defp number({5, by}, x), do: min(x, 1000 * by)
end
