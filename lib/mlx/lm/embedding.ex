defmodule Mlx.LM.Embedding do
  @moduledoc """
  A vector for each token. The matrix stays as it is in the file: only the rows that are looked up are unpacked.
  """

  alias Mlx.Array
  alias Mlx.LM.Weights

  @enforce_keys [:matrix]
  defstruct @enforce_keys

  @type t :: %__MODULE__{matrix: Weights.matrix()}

  @doc "The embedding with the tensor `name.weight` of a file."
  @spec new(Weights.t(), String.t()) :: t()
  def new(weights, name), do: %__MODULE__{matrix: Mlx.eval(Weights.matrix!(weights, name))}

  @doc "The vectors `{..., width}` of `ids`, an array `{...}` of tokens."
  @spec call(t(), Array.t()) :: Array.t()
  def call(%__MODULE__{matrix: matrix}, ids), do: Weights.rows(matrix, ids)
end
