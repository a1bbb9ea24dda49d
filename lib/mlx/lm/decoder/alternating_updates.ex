defmodule Mlx.LM.Decoder.AlternatingUpdates do
  @moduledoc """
  What a block that works on one of several streams does with the others (AltUp): before it, each stream is predicted from
  all of them; after it, the predictions are corrected by what the block changed in its own.

  Source: Baykal and others, "Alternating Updates for Efficient Transformers" (2023).
  """

  alias Mlx.{Array, NN}
  alias Mlx.Arguments.Options
  alias Mlx.LM.Decoder.Parameter

  defstruct [
    :correct_output_scale,
    :correction_coefs,
    :prediction_coefs,
    :modality_router,
    :router_norm,
    :count,
    :active,
    :width
  ]

  @type t :: %__MODULE__{}

  @doc "Updates with zeros for arrays. Options: `:width`, `:count` of streams, the `:active` one, and `:eps`."
  @spec new(keyword()) :: t()
  def new(options) do
    defaults = [width: nil, count: nil, active: 0, eps: 1.0e-6]
    [width, count, active, eps] = Options.without_stream(options, :"LM.Decoder.AlternatingUpdates.new", defaults)

    %__MODULE__{
      correct_output_scale: Parameter.zeros({width}),
      correction_coefs: Parameter.linear(count, count),
      prediction_coefs: Parameter.linear(count, count * count),
      modality_router: Parameter.linear(width, count),
      router_norm: Parameter.norm({:rms, eps}, width),
      count: count,
      active: active,
      width: width
    }
  end

  @doc "One of the streams."
  @spec stream(t(), Array.t()) :: Array.t()
  def stream(%__MODULE__{active: active}, streams), do: Mlx.take(streams, active, axis: 0)

  @doc "The predicted streams, `{streams, batch, length, width}`."
  @spec predict(t(), Array.t()) :: Array.t()
  def predict(%__MODULE__{count: count} = updates, %Array{shape: {_, batch, length, _}} = streams) do
    coefficients = NN.Layer.call(updates.prediction_coefs, kinds(updates, stream(updates, streams)))
    coefficients = coefficients |> Mlx.reshape({batch, length, count, count}) |> Mlx.swap_axes(-1, -2)
    mixed = streams |> Mlx.as_type(:f32) |> Mlx.transpose(axes: [1, 2, 3, 0]) |> Mlx.matmul(coefficients)
    mixed |> Mlx.transpose(axes: [3, 0, 1, 2]) |> Mlx.add(streams) |> Mlx.as_type(streams.type)
  end

  @doc "The corrected streams after the block gave `y` for the active one of the predictions."
  @spec correct(t(), Array.t(), Array.t()) :: Array.t()
  def correct(%__MODULE__{} = updates, predictions, y) do
    change = Mlx.subtract(y, stream(updates, predictions))
    coefficients = updates.correction_coefs |> NN.Layer.call(kinds(updates, y)) |> Mlx.add(1)
    coefficients = coefficients |> Mlx.transpose(axes: [2, 0, 1]) |> Mlx.new_axis(-1)
    change |> Mlx.new_axis(0) |> Mlx.multiply(coefficients) |> Mlx.add(predictions) |> Mlx.as_type(y.type)
  end

  defp kinds(updates, x) do
    x = Mlx.divide(NN.Layer.call(updates.router_norm, x), updates.width)
    updates.modality_router |> NN.Layer.call(x) |> Mlx.as_type(:f32) |> Mlx.tanh()
  end
end
