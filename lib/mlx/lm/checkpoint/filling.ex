defmodule Mlx.LM.Checkpoint.Filling do
  @moduledoc false
  # The model of tensors by the names of a file. It is strict: the paths of the decoder are the names of the tensors.

  alias Mlx.{Array, Type}
  alias Mlx.LM.{Decoder, Families, Imported, Names, Quantization}
  alias Mlx.LM.Families.Fields

  @shown 8

  @doc "The model, in a floating-point type or that of the file, with the user's own families. `source` names the tensors in errors."
  @spec model(%{String.t() => Array.t()}, Fields.t(), Type.t() | nil, map, String.t()) :: Decoder.t()
  def model(tensors, fields, type, families, source) do
    {family, text} = Families.find(fields, families: families)
    names = family.names()
    tensors = Imported.of(tensors, fields, type)
    tensors = for {name, array} <- tensors, ours = Names.ours(name, names), into: %{}, do: {ours, array}
    text = Fields.put_new(text, "tie_word_embeddings", not is_map_key(tensors, "lm_head.weight"))
    config = family.config(text)
    tensors = tensors |> family.tensors(text) |> without_output(config)

    config
    |> Decoder.new()
    |> Quantization.of(tensors, fields, names)
    |> with_layers(family, text)
    |> filled(Map.new(tensors, fn {name, array} -> {name, in_type(array, name, type)} end), source)
  end

  defp with_layers(decoder, family, text) do
    Map.merge(decoder, decoder |> Map.take([:model, :lm_head]) |> family.layers(text))
  end

  defp without_output(tensors, %{tied: false}), do: tensors

  defp without_output(tensors, _tied),
    do: Map.reject(tensors, fn {name, _array} -> String.starts_with?(name, "lm_head.") end)

  # The scales of some modes are bytes, and packed weights words.
  defp in_type(array, _name, nil), do: array

  defp in_type(%Array{type: own} = array, _name, type) when own in [:f32, :f16, :bf16, :f64],
    do: Mlx.as_type(array, type)

  defp in_type(array, _name, _type), do: array

  defp filled(decoder, tensors, source) do
    wanted = Map.new(Mlx.Tree.flatten(Map.take(decoder, [:model, :lm_head])))
    missing = for {name, array} <- wanted, not is_map_key(tensors, name), do: "#{name} #{shape(array)} is missing"

    wrong =
      for {name, %Array{shape: given}} <- tensors, expected = wanted[name], expected.shape != given do
        "#{name} has the shape #{inspect(given)}, expected #{inspect(expected.shape)}"
      end

    unknown =
      for {name, array} <- tensors,
          not is_map_key(wanted, name),
          do: "#{name} #{shape(array)} has no place in the model"

    refuse!(missing ++ wrong ++ unknown, source)
    parts = Mlx.Tree.unflatten(tensors, Map.take(decoder, [:model, :lm_head]))
    Map.merge(decoder, parts)
  end

  defp shape(%Array{shape: shape}), do: inspect(shape)

  defp refuse!([], _source), do: :ok

  defp refuse!(problems, source) do
    {shown, more} = problems |> Enum.sort() |> Enum.split(@shown)
    rest = if more == [], do: [], else: ["and #{length(more)} more"]
    raise Mlx.Error, message: "#{source} does not fit its configuration: #{Enum.join(shown ++ rest, "; ")}"
  end
end
