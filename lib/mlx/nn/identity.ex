defmodule Mlx.NN.Identity do
  @moduledoc """
  A layer that gives back its input, to stand where another layer could.

  Python: `mlx.nn.Identity`.
  """

  use Mlx.Arguments.Mismatch

  @derive Mlx.NN.Layer
  defstruct []

  @type t :: %__MODULE__{}

  @doc """
  The layer.

      iex> Mlx.NN.Identity.new()
      #Mlx.NN.Identity<>

  Python: `mlx.nn.Identity`.
  """
  @spec new() :: t()
  def new, do: %__MODULE__{}

  @doc """
  The input.

      iex> Mlx.NN.Identity.new() |> Mlx.NN.Identity.call(Mlx.array([1, 2])) |> Mlx.to_list()
      [1, 2]

  Python: `Identity.__call__`.
  """
  @spec call(t(), input) :: input when input: term()
  def call(%__MODULE__{}, input), do: input
end
