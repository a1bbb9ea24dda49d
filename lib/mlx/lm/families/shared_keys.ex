defmodule Mlx.LM.Families.SharedKeys do
  @moduledoc false
  # Models whose last layers take the keys and values of the last layer before them that has a window, or has none, as
  # they do.

  alias Mlx.LM.Families.Fields
  alias Mlx.LM.Family

  @key "num_kv_shared_layers"

  @doc "The first of the layers that share, of so many."
  @spec first(Fields.t(), pos_integer()) :: non_neg_integer()
  def first(fields, count), do: max(count - Fields.count(fields, @key, 0), 0)

  @doc "What a layer gives or takes, as options of `Mlx.LM.Decoder.Attention`."
  @spec attention(Fields.t(), [pos_integer() | nil], non_neg_integer()) :: keyword()
  def attention(fields, windows, layer) do
    first = first(fields, length(windows))
    window = Enum.at(windows, layer)
    name = if window, do: :windowed_keys, else: :all_keys
    givers = for {^window, giver} <- windows |> Enum.take(first) |> Enum.with_index(), do: giver

    cond do
      first == length(windows) -> []
      layer < first -> if layer == List.last(givers), do: [gives: name], else: []
      givers == [] -> Fields.refuse(fields, @key, "a layer of each kind before those that share")
      true -> [takes: name]
    end
  end

  @doc "The tensors without those of layers that share which nobody reads."
  @spec read(Family.tensors(), Fields.t()) :: Family.tensors()
  def read(tensors, fields) do
    first = first(fields, Fields.layers(fields, "num_hidden_layers"))
    Map.reject(tensors, fn {name, _array} -> unread?(name, first) end)
  end

  defp unread?(name, first) do
    case Regex.run(~r/layers\.(\d+)\..*self_attn\.(k_proj|v_proj|k_norm)\./, name) do
      [_all, layer, _part] -> String.to_integer(layer) >= first
      nil -> false
    end
  end
end
