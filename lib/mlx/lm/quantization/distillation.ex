defmodule Mlx.LM.Quantization.Distillation do
  @moduledoc false
  # How far what a quantized decoder foretells is from what the whole one does, as a function that has gradients.

  alias Mlx.{Array, Tree}
  alias Mlx.LM.Decoder

  @doc "What the decoder foretells for a batch of tokens, as the target of others."
  @spec targets(Decoder.t(), Array.t()) :: Array.t()
  def targets(decoder, ids), do: decoder |> Decoder.training_logits(ids) |> Mlx.stop_gradient() |> Mlx.eval()

  @doc """
  The mean divergence of Kullback and Leibler of the decoder from targets, `{batch, length, vocabulary}`, both divided by the
  temperature. `checkpoint` is that of `Mlx.LM.Decoder.training_logits/3`.
  """
  @spec loss(Decoder.t(), Array.t(), Array.t(), number(), boolean()) :: Array.t()
  def loss(decoder, ids, targets, temperature, checkpoint) do
    foretold = decoder |> Decoder.training_logits(ids, checkpoint: checkpoint) |> logarithms(temperature)
    foretold |> Mlx.NN.Losses.kl_div_loss(logarithms(targets, temperature)) |> Mlx.mean()
  end

  # Tokens that a model leaves out have a logit of minus infinity, of which differences are no numbers.
  @least -1.0e30

  # The logarithms of the probabilities.
  defp logarithms(logits, temperature) do
    logits = logits |> Mlx.as_type(:f32) |> Mlx.divide(temperature) |> Mlx.max(@least)
    Mlx.subtract(logits, Mlx.logsumexp(logits, axes: [-1], keep_axes: true))
  end

  @doc "The decoder with other arrays, by their paths."
  @spec with_arrays(Decoder.t(), %{String.t() => Array.t()}) :: Decoder.t()
  def with_arrays(decoder, arrays) do
    Map.merge(
      decoder,
      Tree.map_with_path(Map.take(decoder, [:model, :lm_head]), fn path, own -> Map.get(arrays, path, own) end)
    )
  end
end
