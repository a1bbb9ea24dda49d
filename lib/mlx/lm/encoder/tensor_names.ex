defmodule Mlx.LM.Encoder.TensorNames do
  @moduledoc false
  # The names that tensors have in a file, for the paths of a model's arrays.

  alias Mlx.LM.Encoder.Family

  @doc """
  The names of the array at a path. Of several, the tensors stand one after the other in the array.

      iex> Mlx.LM.Encoder.TensorNames.of("layers.3.attention.output.bias", Mlx.LM.Encoder.Families.Bert.names())
      ["encoder.layer.3.attention.output.dense.bias"]
  """
  @spec of(String.t(), Family.names()) :: [String.t()]
  def of(path, names) do
    {front, path} = split(path, names)
    [parameter | reversed] = path |> String.split(".") |> Enum.reverse()
    layer = reversed |> Enum.reverse() |> Enum.join(".")
    for name <- List.wrap(Map.get(names, layer, layer)), do: "#{front}#{name}.#{parameter}"
  end

  defp split("layers." <> rest, names) do
    [index, path] = String.split(rest, ".", parts: 2)
    {"#{names["layers"]}.#{index}.", path}
  end

  defp split(path, _names), do: {"", path}

  @doc """
  The tensors by the names that a family has for them, each with the name that it has in the file. What stands in front of
  some names is left out, and the older names of a normalisation's parameters are its newer ones.
  """
  @spec normalize(%{String.t() => term()}, [String.t()]) :: %{String.t() => {String.t(), term()}}
  def normalize(tensors, prefixes) do
    Map.new(tensors, fn {name, tensor} -> {name |> without(prefixes) |> renamed(), {name, tensor}} end)
  end

  defp without(name, prefixes) do
    Enum.find_value(prefixes, name, fn prefix ->
      if String.starts_with?(name, prefix),
        do: binary_part(name, byte_size(prefix), byte_size(name) - byte_size(prefix))
    end)
  end

  defp renamed(name) do
    name
    |> String.replace_suffix("LayerNorm.gamma", "LayerNorm.weight")
    |> String.replace_suffix("LayerNorm.beta", "LayerNorm.bias")
  end
end
