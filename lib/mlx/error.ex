defmodule Mlx.Error do
  @moduledoc """
  Raised when MLX, or a file it should read, does not allow what was asked for.

  Its message says what was wrong and, for an operation, starts with the function's name. What is found out only when an
  array is computed starts with the function that had it computed, and names those that may have made it:

      iex> Mlx.zeros({2, 2}) |> Mlx.Linalg.invert() |> Mlx.to_list()
      ** (Mlx.Error) Mlx.to_list: Mlx.Linalg.invert/2 was given a singular matrix, which has no inverse
  """
  defexception [:message]

  @impl true
  def message(%__MODULE__{message: message}) when is_binary(message) do
    Enum.reduce(causes(), message, fn {words, meaning}, message -> Regex.replace(words, message, meaning) end)
  end

  def message(%__MODULE__{message: message}), do: inspect(message)

  # What MLX says of a computation that failed, and what it means.
  defp causes do
    [
      {~r/\[Inverse::eval_cpu\] LU factorization failed with error code \d+/,
       "Mlx.Linalg.invert/2 was given a singular matrix, which has no inverse"},
      {~r/\[Inverse::eval_cpu\] triangular inversion failed with error code \d+/,
       "a function that solves or inverts was given a singular matrix, which has no inverse: Mlx.Linalg.solve/3, " <>
         "triangular_solve/3, tri_inv/2 or cholesky_inv/2, or Nx.LinAlg.solve/2 or Nx.LinAlg.triangular_solve/3"}
    ]
  end
end
