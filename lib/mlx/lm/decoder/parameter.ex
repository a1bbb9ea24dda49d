defmodule Mlx.LM.Decoder.Parameter do
  @moduledoc false
  # Layers with zeros for arrays, which say the shapes that a file must have. The zeros are not computed.

  alias Mlx.Array
  alias Mlx.NN.{Embedding, LayerNorm, Linear, RMSNorm}

  alias Mlx.LM.Decoder.{
    GroupRMSNorm,
    HeadGain,
    HeadLayerNorm,
    HeadRMSNorm,
    PlainRMSNorm,
    RoundedRMSNorm,
    ShiftedLayerNorm,
    ShiftedRMSNorm,
    WeighedRMSNorm
  }

  @largest 0x7FFFFFFF

  @doc "Zeros. Raises `Mlx.Error` for a shape that no array has."
  @spec zeros(tuple()) :: Array.t()
  def zeros(shape) do
    if Enum.any?(Tuple.to_list(shape), &(&1 not in 1..@largest)) do
      raise Mlx.Error,
        message: "the configuration asks for an array of the shape #{inspect(shape)}, and no array has that"
    end

    Mlx.zeros(shape)
  end

  @doc "A linear layer."
  @spec linear(pos_integer(), pos_integer(), boolean()) :: Linear.t()
  def linear(inputs, outputs, bias \\ false) do
    %Linear{weight: zeros({outputs, inputs}), bias: if(bias, do: zeros({outputs}))}
  end

  @doc "An embedding."
  @spec embedding(pos_integer(), pos_integer()) :: Embedding.t()
  def embedding(count, width), do: %Embedding{weight: zeros({count, width})}

  @typedoc """
  The kind of a normalisation and its epsilon:

    * `:rms`, `:rms_without_weight` - root mean square
    * `:rms_rounded` - the same, with outputs of the type of the weight
    * `:rms_of_weighed` - that of the product with the weight
    * `:rms_plus_one` - the same, whose weight is one more than in the file
    * `{:rms_plus, shift}` - the same, whose weight is `shift` more than in the file
    * `:layer`, `:layer_without_bias`, `:layer_without_weight` - mean and variance
    * `:layer_plus_one` - the same, whose weight is one more than in the file
  """
  @type norm :: {
          :rms
          | :rms_without_weight
          | :rms_rounded
          | :rms_of_weighed
          | :rms_plus_one
          | {:rms_plus, float()}
          | :layer
          | :layer_plus_one
          | :layer_without_bias
          | :layer_without_weight,
          float()
        }

  @doc "A normalisation of so many features."
  @spec norm(norm(), pos_integer()) :: struct()
  def norm({:rms, eps}, width), do: %RMSNorm{weight: zeros({width}), eps: eps}
  def norm({:rms_without_weight, eps}, _width), do: %PlainRMSNorm{eps: eps}
  def norm({:rms_rounded, eps}, width), do: %RoundedRMSNorm{weight: zeros({width}), eps: eps}
  def norm({:rms_of_weighed, eps}, width), do: %WeighedRMSNorm{weight: zeros({width}), eps: eps}
  def norm({:rms_plus_one, eps}, width), do: %ShiftedRMSNorm{weight: zeros({width}), eps: eps}

  def norm({{:rms_plus, shift}, eps}, width) do
    %ShiftedRMSNorm{weight: zeros({width}), eps: eps, shift: shift}
  end

  def norm({:layer, eps}, width), do: layer_norm(zeros({width}), zeros({width}), width, eps)

  def norm({:layer_plus_one, eps}, width) do
    %ShiftedLayerNorm{weight: zeros({width}), bias: zeros({width}), eps: eps}
  end

  def norm({:layer_without_bias, eps}, width), do: layer_norm(zeros({width}), nil, width, eps)
  def norm({:layer_without_weight, eps}, width), do: layer_norm(nil, nil, width, eps)

  @doc "A normalisation of heads, with a weight for each of them, or with one number for each."
  @spec head_norm(norm(), pos_integer(), pos_integer()) :: struct()
  def head_norm({:rms_without_weight, eps}, heads, _width), do: %HeadGain{weight: zeros({heads}), eps: eps}
  def head_norm({:rms, eps}, heads, width), do: %HeadRMSNorm{weight: zeros({heads, width}), eps: eps}
  def head_norm({_layer, eps}, heads, width), do: %HeadLayerNorm{weight: zeros({heads, width}), eps: eps}

  @doc "A root mean square normalisation of so many equal parts."
  @spec group_norm(float(), pos_integer(), pos_integer()) :: struct()
  def group_norm(eps, 1, width), do: norm({:rms, eps}, width)
  def group_norm(eps, groups, width), do: %GroupRMSNorm{weight: zeros({width}), eps: eps, groups: groups}

  defp layer_norm(weight, bias, width, eps), do: %LayerNorm{weight: weight, bias: bias, dims: width, eps: eps}
end
