defmodule Mlx.LM.Decoder.Joined do
  @moduledoc false
  # One linear layer whose outputs are those of several, one after the other: one large product is faster than several
  # small ones.

  alias Mlx.NN.{Linear, QuantizedLinear}

  @doc "The layer, or nil for layers that are not alike."
  @spec linear([struct()]) :: struct() | nil
  def linear([first | rest] = layers) do
    if Enum.all?(rest, &(form(&1) == form(first))) and form(first) != nil, do: joined(first, layers)
  end

  defp form(%Linear{weight: weight, bias: bias}), do: {Linear, weight.type, bias != nil}

  defp form(%QuantizedLinear{} = layer) do
    {QuantizedLinear, layer.group_size, layer.bits, layer.mode, layer.scales.type, layer.bias != nil}
  end

  defp form(_other), do: nil

  # The former arrays are given up as soon as they are copied, so that only one layer is in memory twice.
  defp joined(first, layers) do
    joined =
      for field <- [:weight, :scales, :biases, :bias], Map.get(first, field) != nil, reduce: first do
        joined -> Map.put(joined, field, Mlx.concatenate(Enum.map(layers, &Map.fetch!(&1, field))))
      end

    Mlx.eval(joined)
    layers |> Mlx.Tree.arrays() |> Enum.each(&Mlx.deallocate/1)
    joined
  end
end
