defmodule Mlx.LM.Decoder.HeadRMSNorm do
  @moduledoc false
  # Root mean square normalisation of heads, each with its weight: {heads, features}, or {heads, 1, features} for heads that
  # stand before the positions.

  alias Mlx.{Array, Fast}
  alias Mlx.LM.Decoder.ShiftedRMSNorm
  alias Mlx.NN.RMSNorm

  @derive Mlx.NN.Layer
  @enforce_keys [:weight, :eps]
  defstruct @enforce_keys

  @type t :: %__MODULE__{weight: Array.t(), eps: float()}

  @spec call(t(), Array.t()) :: Array.t()
  def call(%__MODULE__{weight: weight, eps: eps}, x), do: Mlx.multiply(weight, Fast.rms_norm(x, nil, eps: eps))

  @doc """
  One normalisation, of heads before the positions, in place of several of so many heads each, `[{norm, heads}]`; `nil` for
  normalisations that are not alike.
  """
  @spec joined([{struct(), pos_integer()}]) :: t() | nil
  def joined([{%kind{eps: eps, weight: %Array{type: type}}, _heads} | rest] = norms)
      when kind in [RMSNorm, ShiftedRMSNorm, __MODULE__] do
    if Enum.all?(rest, &match?({%^kind{eps: ^eps, weight: %Array{type: ^type}}, _heads}, &1)) do
      weights = for {norm, heads} <- norms, do: norm |> weight(heads) |> Mlx.new_axis(1)
      %__MODULE__{weight: Mlx.concatenate(weights), eps: eps}
    end
  end

  def joined(_norms), do: nil

  defp weight(%ShiftedRMSNorm{} = norm, heads), do: norm |> ShiftedRMSNorm.summed() |> weight(heads)
  defp weight(%RMSNorm{weight: weight}, heads), do: Mlx.broadcast(weight, {heads, Mlx.axis_size(weight, 0)})
  defp weight(%__MODULE__{weight: weight}, _heads), do: weight
end
