defmodule Mlx.NN.TransformerLayers do
  @moduledoc false
  # The way through the layers of an encoder or a decoder, which ends with a normalisation.

  alias Mlx.{Array, NN}

  @doc """
  What the layers of a model make of `x` one after another, and its normalisation of that. `call` takes a layer, `x` and
  `inputs`, a container that all layers get. With `checkpoint: true` of the model, each layer is computed again for the
  gradient.
  """
  @spec call(struct(), Array.t(), inputs, (struct(), Array.t(), inputs -> Array.t())) :: Array.t() when inputs: term()
  def call(%{layers: layers, ln: ln, checkpoint: checkpoint?}, x, inputs, call) do
    call = if checkpoint?, do: Mlx.checkpoint(call), else: call
    layers |> Enum.reduce(x, &call.(&1, &2, inputs)) |> NN.forward(ln)
  end
end
