defmodule Mlx.LM.Adapter.Places do
  @moduledoc false
  # Where the arrays of an adapter belong in a decoder.

  alias Mlx.Array
  alias Mlx.LM.Adapter.Change
  alias Mlx.LM.Families.Fields
  alias Mlx.LM.Decoder.{QuantizedSwitchLinear, SwitchLinear}

  @expert ~r/\.experts\.\d+\./
  @shown 8

  @doc """
  The changes with those of single experts stacked, and called, as the family does it with the matrices of experts.
  """
  @spec of_experts(%{String.t() => Change.t()}, module(), Fields.t()) :: %{String.t() => Change.t()}
  def of_experts(changes, family, text) do
    {experts, others} = Enum.split_with(changes, fn {path, _change} -> path =~ @expert end)
    if experts == [], do: changes, else: Map.merge(Map.new(others), stacked(experts, family, text))
  end

  defp stacked(experts, family, text) do
    for {path, %{scale: scale, magnitude: magnitude}} <- experts, magnitude != nil or scale != hd_scale(experts) do
      raise Mlx.Error, message: "#{path}: the changes of experts must have one scale, and no magnitudes"
    end

    # A family knows matrices, and these are some.
    [a, b] =
      for part <- [:a, :b] do
        tensors = for {path, change} <- experts, into: %{}, do: {"#{path}.weight", transposed(change, part)}
        alike!(tensors)

        for {name, array} <- family.tensors(tensors, text),
            into: %{},
            do: {String.replace_suffix(name, ".weight", ""), array}
      end

    for {path, array} <- a, into: %{}, do: {path, %Change{a: array, b: Map.fetch!(b, path), scale: hd_scale(experts)}}
  end

  defp hd_scale([{_path, %{scale: scale}} | _]), do: scale
  defp transposed(change, part), do: Mlx.transpose(Map.fetch!(change, part))

  # Only arrays of one shape make a stack.
  defp alike!(tensors) do
    tensors
    |> Enum.group_by(fn {name, _array} -> Regex.replace(@expert, name, ".experts._.") end)
    |> Enum.each(fn {name, arrays} ->
      shapes = arrays |> Enum.map(fn {_name, array} -> array.shape end) |> Enum.uniq()

      if length(shapes) > 1 do
        raise Mlx.Error, message: "#{name} has several shapes, #{Enum.map_join(shapes, ", ", &inspect/1)}, expected one"
      end
    end)
  end

  @doc "Raises `Mlx.Error`, with the file, for arrays that have no place in the decoder or other shapes than there."
  @spec check!(term(), %{String.t() => Change.t()}, %{String.t() => Array.t()}, Path.t()) :: :ok
  def check!(parts, changes, replaced, file) do
    layers = Change.layers(parts)
    arrays = Map.new(Mlx.Tree.flatten(parts))

    wrong =
      Enum.flat_map(changes, fn {path, change} -> change(layers[path], path, change) end) ++
        Enum.flat_map(replaced, fn {name, array} -> array(arrays[name], layers, name, array) end)

    cond do
      changes == %{} and replaced == %{} ->
        raise Mlx.Error, message: "#{file} holds no arrays of an adapter"

      wrong != [] ->
        {shown, more} = wrong |> Enum.sort() |> Enum.split(@shown)
        rest = if more == [], do: [], else: ["and #{length(more)} more"]
        raise Mlx.Error, message: "#{file} does not fit the model: #{Enum.join(shown ++ rest, "; ")}"

      true ->
        :ok
    end
  end

  defp change(nil, path, _change), do: ["#{path} is no layer of the model that an adapter can change"]

  defp change(%kind{} = layer, path, change) do
    {a, b} = Change.expected(layer, change)
    rows = elem(Change.shape(layer), 0)
    magnitude = change.magnitude

    cond do
      change.a.shape != a -> ["#{path} has the shape #{inspect(change.a.shape)} for a, expected #{inspect(a)}"]
      change.b.shape != b -> ["#{path} has the shape #{inspect(change.b.shape)} for b, expected #{inspect(b)}"]
      magnitude == nil -> []
      kind in [SwitchLinear, QuantizedSwitchLinear] -> ["#{path} has magnitudes, and experts cannot have them"]
      magnitude.shape != {rows} -> ["#{path} has magnitudes #{inspect(magnitude.shape)}, expected #{inspect({rows})}"]
      true -> []
    end
  end

  defp array(nil, _layers, name, _array), do: ["#{name} has no place in the model"]

  defp array(%Array{shape: shape}, layers, name, %Array{shape: given, type: type}) do
    layer = layers[String.replace_suffix(name, ".weight", "")]
    dense = if layer && type != :u32, do: Change.shape(layer)
    expected = if String.ends_with?(name, ".weight") and dense, do: dense, else: shape
    if given == expected, do: [], else: ["#{name} has the shape #{inspect(given)}, expected #{inspect(expected)}"]
  end
end
