defmodule Mlx.LM.Encoder.Parameter do
  @moduledoc false
  # Layers with zeros for arrays, which say the shapes that a file must have. The zeros are not computed.

  alias Mlx.NN.{Embedding, LayerNorm, Linear}

  @doc "A linear layer."
  @spec linear(pos_integer(), pos_integer(), boolean()) :: Linear.t()
  def linear(inputs, outputs, bias) do
    %Linear{weight: Mlx.zeros({outputs, inputs}), bias: if(bias, do: Mlx.zeros({outputs}))}
  end

  @doc "An embedding, or nil for one of no rows."
  @spec embedding(non_neg_integer(), pos_integer()) :: Embedding.t() | nil
  def embedding(0, _width), do: nil
  def embedding(count, width), do: %Embedding{weight: Mlx.zeros({count, width})}

  @doc "A layer normalisation of so many features."
  @spec norm(pos_integer(), float(), boolean()) :: LayerNorm.t()
  def norm(width, eps, bias) do
    %LayerNorm{weight: Mlx.zeros({width}), bias: if(bias, do: Mlx.zeros({width})), dims: width, eps: eps}
  end
end
