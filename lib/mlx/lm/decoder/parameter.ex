defmodule Mlx.LM.Decoder.Parameter do
  @moduledoc false
  # Layers with zeros for arrays, which say the shapes that a file must have. The zeros are not computed.

  alias Mlx.NN.{Embedding, LayerNorm, Linear, RMSNorm}
  alias Mlx.LM.Decoder.{HeadLayerNorm, ShiftedLayerNorm, ShiftedRMSNorm}

  @doc "A linear layer."
  @spec linear(pos_integer(), pos_integer(), boolean()) :: Linear.t()
  def linear(inputs, outputs, bias \\ false) do
    %Linear{weight: Mlx.zeros({outputs, inputs}), bias: if(bias, do: Mlx.zeros({outputs}))}
  end

  @doc "An embedding."
  @spec embedding(pos_integer(), pos_integer()) :: Embedding.t()
  def embedding(count, width), do: %Embedding{weight: Mlx.zeros({count, width})}

  @typedoc """
  The kind of a normalisation and its epsilon:

    * `:rms` - root mean square
    * `:rms_plus_one` - the same, whose weight is one more than in the file
    * `:layer`, `:layer_without_bias`, `:layer_without_weight` - mean and variance
    * `:layer_plus_one` - the same, whose weight is one more than in the file
  """
  @type norm :: {:rms | :rms_plus_one | :layer | :layer_plus_one | :layer_without_bias | :layer_without_weight, float()}

  @doc "A normalisation of so many features."
  @spec norm(norm(), pos_integer()) :: struct()
  def norm({:rms, eps}, width), do: %RMSNorm{weight: Mlx.zeros({width}), eps: eps}
  def norm({:rms_plus_one, eps}, width), do: %ShiftedRMSNorm{weight: Mlx.zeros({width}), eps: eps}
  def norm({:layer, eps}, width), do: layer_norm(Mlx.zeros({width}), Mlx.zeros({width}), width, eps)

  def norm({:layer_plus_one, eps}, width) do
    %ShiftedLayerNorm{weight: Mlx.zeros({width}), bias: Mlx.zeros({width}), eps: eps}
  end

  def norm({:layer_without_bias, eps}, width), do: layer_norm(Mlx.zeros({width}), nil, width, eps)
  def norm({:layer_without_weight, eps}, width), do: layer_norm(nil, nil, width, eps)

  @doc "A normalisation with a weight for each of the heads."
  @spec head_norm(float(), pos_integer(), pos_integer()) :: HeadLayerNorm.t()
  def head_norm(eps, heads, width), do: %HeadLayerNorm{weight: Mlx.zeros({heads, width}), eps: eps}

  defp layer_norm(weight, bias, width, eps), do: %LayerNorm{weight: weight, bias: bias, dims: width, eps: eps}
end
