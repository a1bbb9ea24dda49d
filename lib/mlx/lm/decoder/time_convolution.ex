defmodule Mlx.LM.Decoder.TimeConvolution do
  @moduledoc """
  A convolution over time, of each feature by itself: an output sees its own position and the ones before it.

  | parameter | shape |
  | --- | --- |
  | `weight` | `{features, kernel, 1}` |
  | `bias` | `{features}`, or `nil` |
  """

  alias Mlx.Array
  alias Mlx.LM.Decoder.Parameter

  @enforce_keys [:weight, :bias]
  defstruct @enforce_keys

  @type t :: %__MODULE__{weight: Array.t(), bias: Array.t() | nil}

  @doc "A convolution with zeros for arrays."
  @spec new(pos_integer(), pos_integer(), boolean()) :: t()
  def new(features, kernel, bias) do
    %__MODULE__{
      weight: Parameter.zeros({features, kernel, 1}),
      bias: if(bias, do: Parameter.zeros({features}))
    }
  end

  @doc """
  The outputs for `x`, `{batch, length, features}`, and the inputs `{batch, kernel - 1, features}` that the next outputs
  see. `before` are those that stand before `x`, `nil` for zeros.
  """
  @spec call(t(), Array.t(), Array.t() | nil) :: {Array.t(), Array.t()}
  def call(%__MODULE__{weight: weight, bias: bias}, %Array{shape: {batch, length, features}} = x, before) do
    kept = Mlx.axis_size(weight, 1) - 1
    before = before || Mlx.zeros({batch, kept, features}, type: x.type)
    all = Mlx.concatenate([before, x], axis: 1)
    y = convolved(all, weight, length)
    {if(bias, do: Mlx.add(y, bias), else: y), rows(all, length, kept, length)}
  end

  # For one position, and on a GPU, MLX's convolution is fastest. For many on a CPU it is a scalar loop.
  defp convolved(all, %Array{shape: {features, kernel, 1}} = weight, length) do
    if length == 1 or Mlx.Device.default() != :cpu do
      Mlx.conv(all, weight, feature_group_size: features)
    else
      factors = weight |> Mlx.squeeze(axes: [2]) |> Mlx.transpose()

      for place <- 0..(kernel - 1) do
        Mlx.multiply(rows(all, place, length), Mlx.slice(factors, [place, 0], [1, features]))
      end
      |> Enum.reduce(&Mlx.add(&2, &1))
    end
  end

  defp rows(%Array{shape: {batch, _, features}} = x, first, count) do
    Mlx.slice(x, [0, first, 0], [batch, count, features])
  end

  # A copy, so that a long prompt does not stay in memory for its last rows.
  defp rows(x, first, count, length) when length > 1, do: x |> rows(first, count) |> Mlx.contiguous()
  defp rows(x, first, count, _length), do: rows(x, first, count)
end
