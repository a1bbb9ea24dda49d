defmodule Mlx.LM.FineTuning.Split do
  @moduledoc false
  # What is trained of a decoder, and the decoder around it.
  #
  # The trained part has the form of the decoder's parts, but for what has nothing to train: that is nil. So a training holds
  # nothing else, and a step takes and gives nothing else.

  alias Mlx.{Array, NN, Tree}
  alias Mlx.LM.Decoder
  alias Mlx.LM.FineTuning.Places
  alias Mlx.NN.Dropout

  @arrays_of_adapters ["lora_a", "lora_b", "m"]

  @doc "The trained part of a decoder: arrays of adapters, or for `:full` all of the blocks from the first one on."
  @spec trained(Decoder.t(), :lora | :dora | :full, non_neg_integer()) :: map()
  def trained(decoder, kind, first) do
    {trained, _kept} = NN.freeze(Places.parts(decoder), fn path, _array -> not trained?(kind, path, first) end)
    pruned(trained)
  end

  defp trained?(:full, path, first), do: Places.block(path) >= first
  defp trained?(_adapter, path, _first), do: (path |> String.split(".") |> List.last()) in @arrays_of_adapters

  defp pruned(%Array{} = array), do: array
  defp pruned(%Dropout{} = dropout), do: dropout
  defp pruned(list) when is_list(list), do: Enum.map(list, &part/1)
  defp pruned(%_layer{} = layer), do: layer |> Map.from_struct() |> parts() |> then(&struct!(layer, &1))
  defp pruned(%{} = map), do: parts(map)
  defp pruned(other), do: other

  defp parts(map), do: Map.new(map, fn {key, part} -> {key, part(part)} end)
  defp part(part), do: if(container?(part) and Tree.arrays(part) == [], do: kept(part), else: pruned(part))

  defp container?(part), do: is_map(part) or is_list(part)
  defp kept(%Dropout{} = dropout), do: dropout
  defp kept(_nothing_trained), do: nil

  @doc "The decoder with the arrays and the mode of a trained part in the place of its own."
  @spec merged(Decoder.t(), map()) :: Decoder.t()
  def merged(decoder, trained) do
    Map.merge(decoder, Tree.merge(trained, Places.parts(decoder), fn new, _old -> new end))
  end

  @doc "The decoder without the arrays of a trained part, which go on changing, and in another type than `:f32` if wanted."
  @spec around(Decoder.t(), map(), Mlx.Type.t() | nil) :: Decoder.t()
  def around(decoder, trained, type) do
    paths = for {path, _array} <- Tree.flatten(trained), into: MapSet.new(), do: path
    {kept, _trained} = Tree.partition(Places.parts(decoder), fn path, _array -> path not in paths end)
    Map.merge(decoder, Tree.map(kept, &in_type(&1, type)))
  end

  defp in_type(%Array{type: :f32} = array, type) when type != nil, do: Mlx.as_type(array, type)
  defp in_type(array, _type), do: array
end
