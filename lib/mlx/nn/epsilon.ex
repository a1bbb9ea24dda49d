defmodule Mlx.NN.Epsilon do
  @moduledoc false
  # The option `:eps` of normalisations, which is added to a variance.

  @default 1.0e-5

  def default, do: @default

  @doc "Raises unless it is positive."
  @spec check!(term(), String.t()) :: :ok
  def check!(eps, _function) when is_number(eps) and eps > 0, do: :ok

  def check!(eps, function) do
    raise ArgumentError, "#{function}: expected :eps to be a positive number, got: #{Mlx.Arguments.Given.text(eps)}"
  end
end
