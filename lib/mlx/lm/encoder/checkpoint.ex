defmodule Mlx.LM.Encoder.Checkpoint do
  @moduledoc false
  # The tensors in the safetensors files of a folder, and a model that is filled with them.

  alias Mlx.{Array, Tree, Type}
  alias Mlx.LM.{Encoder, JSONFile}
  alias Mlx.LM.Encoder.{Quantized, TensorNames}

  @file_name "model.safetensors"
  @index "model.safetensors.index.json"

  # What files hold that no embedding and no score is made of: heads for other tasks, and numbers that can be computed.
  @unused ~r/^(cls|lm_head|pooler|classifier|head|decoder|predictions|pre_classifier|vocab_\w+)\.|(position_ids|token_type_ids|inv_freq)$/

  # Of the names in a message.
  @shown 5

  @doc "The tensors of a folder by their names. They are read when they are used. Raises `Mlx.Error` without any."
  @spec tensors(Path.t()) :: %{String.t() => Array.t()}
  def tensors(folder) do
    cond do
      File.regular?(Path.join(folder, @file_name)) -> Mlx.IO.load(Path.join(folder, @file_name))
      File.regular?(Path.join(folder, @index)) -> from_index(folder)
      true -> fail!("#{folder} has neither #{@file_name} nor #{@index}#{pickled(folder)}")
    end
  end

  # Such a file holds code as well as numbers.
  defp pickled(folder) do
    if File.exists?(Path.join(folder, "pytorch_model.bin")),
      do: "; pytorch_model.bin is not read, and Python's transformers can save it as safetensors",
      else: ""
  end

  # Each tensor comes from the file that the index names.
  defp from_index(folder) do
    index = JSONFile.read!(Path.join(folder, @index))

    files =
      case index do
        %{"weight_map" => %{} = map} when map_size(map) > 0 -> Enum.group_by(map, &elem(&1, 1), &elem(&1, 0))
        _other -> fail!("#{@index} has no weight_map of tensors and files")
      end

    Enum.reduce(files, %{}, fn {file, names}, tensors ->
      if not (is_binary(file) and Path.basename(file) == file and file not in [".", ".."]) do
        fail!("#{@index} names the file #{inspect(file)}, expected the name of a file in the folder")
      end

      loaded = Mlx.IO.load(Path.join(folder, file), format: :safetensors)
      missing = names -- Map.keys(loaded)
      if missing != [], do: fail!("#{file} has no tensor #{list(missing)}, and #{@index} says so")
      Map.merge(tensors, Map.take(loaded, names))
    end)
  end

  @doc """
  The model with the tensors in place of its arrays, in the floating-point type `type`. Layers are quantized where the tensors
  have scales and `json`, the content of `config.json`, says how.

  Raises `Mlx.Error` that names the tensors that are missing, those of another shape or no floating-point type, and those
  that the model does not know.
  """
  @spec fill(Encoder.t(), %{String.t() => Array.t()}, module(), map(), Type.t()) :: Encoder.t()
  def fill(model, tensors, family, json, type) do
    found = TensorNames.normalize(tensors, family.prefixes())
    filled(Quantized.of(model, found, json, family), found, &names(&1, family), type)
  end

  @doc "A linear layer with the tensors `linear.weight` and `linear.bias` in place of its arrays."
  @spec fill_linear(layer, %{String.t() => Array.t()}, Type.t()) :: layer when layer: struct()
  def fill_linear(layer, tensors, type) do
    filled(layer, TensorNames.normalize(tensors, ["linear."]), &[&1], type)
  end

  defp filled(model, found, names, type) do
    expected = for {path, array} <- Tree.flatten(model), do: {path, array, names.(path)}
    check_names!(expected, found)
    Tree.unflatten(for({path, array, names} <- expected, do: {path, tensor!(names, found, array, type)}), model)
  end

  @spec names(String.t(), module()) :: [String.t()]
  defp names(path, family), do: TensorNames.of(path, family.names())

  defp check_names!(expected, found) do
    wanted = Enum.flat_map(expected, fn {_path, _array, names} -> names end)

    case wanted -- Map.keys(found) do
      [] ->
        :ok

      missing ->
        fail!("the file has no tensor #{list(missing)}; it has #{map_size(found)} tensors, such as #{some(found)}")
    end

    unknown = for {name, {original, _tensor}} <- found, name not in wanted, not (name =~ @unused), do: original
    if unknown != [], do: fail!("the model has no place for the tensor #{list(Enum.sort(unknown))}")
  end

  defp some(found), do: found |> Enum.map(fn {_name, {original, _tensor}} -> original end) |> Enum.sort() |> list()

  defp list(names) do
    more = if length(names) > @shown, do: " and #{length(names) - @shown} more", else: ""
    Enum.map_join(Enum.take(names, @shown), ", ", &inspect/1) <> more
  end

  # Each array is read before the next, so that only one of those that are joined is in memory twice.
  defp tensor!(names, found, %Array{shape: shape} = array, type) do
    rows = div(elem(shape, 0), length(names))
    part = put_elem(shape, 0, rows)

    parts =
      for name <- names do
        {original, %Array{} = tensor} = Map.fetch!(found, name)
        check!(original, tensor, part, array.type)
        if Type.subtype?(array.type, :float), do: Mlx.as_type(tensor, type), else: tensor
      end

    Mlx.eval(if length(parts) == 1, do: hd(parts), else: Mlx.concatenate(parts))
  end

  # Packed numbers are words, and the scales of some modes bytes.
  defp check!(name, %Array{shape: shape, type: type}, expected, kind) do
    if shape != expected do
      fail!("the tensor #{inspect(name)} has the shape #{inspect(shape)}, and config.json says #{inspect(expected)}")
    end

    cond do
      not Type.subtype?(kind, :float) and type != kind ->
        fail!("the tensor #{inspect(name)} has the type #{inspect(type)}, expected #{inspect(kind)}")

      Type.subtype?(kind, :float) and not Type.subtype?(type, :float) ->
        fail!("the tensor #{inspect(name)} has the type #{inspect(type)}, expected a floating-point type")

      true ->
        :ok
    end
  end

  @doc "Raises `Mlx.Error`."
  @spec fail!(String.t()) :: no_return()
  def fail!(problem), do: raise(Mlx.Error, message: problem)
end
