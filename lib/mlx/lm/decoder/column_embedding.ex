defmodule Mlx.LM.Decoder.ColumnEmbedding do
  @moduledoc false
  # The embedding whose vectors are the columns of the matrix of a `DenseLinear`, {1, width, vocabulary}: so a CPU needs one
  # matrix for both ends of a model that ties them.

  alias Mlx.Array
  alias Mlx.LM.Decoder.DenseLinear

  @derive Mlx.NN.Layer
  @enforce_keys [:matrix]
  defstruct @enforce_keys

  @type t :: %__MODULE__{matrix: Array.t()}

  @doc "The embedding of which the layer is the output."
  @spec of(DenseLinear.t()) :: t()
  def of(%DenseLinear{matrix: matrix}), do: %__MODULE__{matrix: matrix}

  @doc "The vectors `{..., width}` of tokens `{...}`."
  @spec call(t(), Array.t()) :: Array.t()
  def call(%__MODULE__{matrix: matrix}, %Array{} = tokens) do
    matrix |> Mlx.squeeze(axes: [0]) |> Mlx.take(tokens, axis: 1) |> Mlx.move_axis(0, -1) |> Mlx.contiguous()
  end
end
