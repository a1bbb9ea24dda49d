defmodule Mlx.LM.Checkpoint.Shards do
  @moduledoc false
  # The files of safetensors of a folder: one, or those that an index lists.

  alias Mlx.Array
  alias Mlx.Arguments.Given
  alias Mlx.LM.Families.Fields
  alias Mlx.LM.JSONFile

  @index "model.safetensors.index.json"

  @doc "The tensors of all files by their names."
  @spec tensors(String.t()) :: %{String.t() => Array.t()}
  def tensors(folder) do
    case files(folder) do
      [] -> raise Mlx.Error, message: "#{folder} has no model.safetensors, and no #{@index}"
      files -> Enum.reduce(files, %{}, &Map.merge(&2, Mlx.IO.load(&1, format: :safetensors)))
    end
  end

  defp files(folder) do
    index = Path.join(folder, @index)

    if File.regular?(index) do
      map =
        Fields.under(Fields.new(JSONFile.read!(index), index), "weight_map") ||
          Fields.refuse(Fields.new(%{}, index), "weight_map", "an object")

      for file <- map.map |> Map.values() |> Enum.uniq() |> Enum.sort(), do: inside!(file, folder, index)
    else
      Enum.filter([Path.join(folder, "model.safetensors")], &File.regular?/1)
    end
  end

  # An index names files beside it and no others.
  defp inside!(file, folder, index) do
    if not is_binary(file) or file in ["", ".", ".."] or Path.basename(file) != file or not String.valid?(file) do
      raise Mlx.Error, message: "#{index}: expected names of files in weight_map, got: #{Given.text(file)}"
    end

    Path.join(folder, file)
  end
end
