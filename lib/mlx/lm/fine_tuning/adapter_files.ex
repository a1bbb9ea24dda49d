defmodule Mlx.LM.FineTuning.AdapterFiles do
  @moduledoc false
  # The trained part of a decoder as mlx-lm keeps it: adapters.safetensors and adapter_config.json.
  #
  # mlx-lm has one rank and one scale for all layers. Layers of another rank are filled up with zeros, and what a scale
  # differs goes into lora_b: an adapter that came from PEFT may have both.

  alias Mlx.IO.Failure
  alias Mlx.LM.Adapter.Change
  alias Mlx.LM.Checkpoint.{Folder, Saved}
  alias Mlx.LM.Decoder
  alias Mlx.LM.FineTuning.Places

  @doc "Writes the files into a folder, which may be there."
  @spec write(Path.t(), Decoder.t(), Saved.t(), keyword()) :: :ok
  def write(folder, decoder, saved, settings) do
    {tensors, config} = content(decoder, saved, settings)
    write_files(folder, tensors, config)
  end

  defp write_files(folder, tensors, config) do
    Failure.about("cannot write #{folder}", fn ->
      File.mkdir_p!(folder)
      Mlx.IO.save(Path.join(folder, "adapters.safetensors"), tensors, metadata: %{"format" => "mlx"})
      Folder.write_json(folder, "adapter_config.json", config)
    end)

    :ok
  end

  defp content(decoder, saved, settings) do
    changes = for {path, layer} <- Mlx.NN.layers(Places.parts(decoder)), taken = Change.taken(layer), do: {path, taken}
    rank = changes |> Enum.map(&rank/1) |> Enum.max()

    scale =
      changes |> Enum.frequencies_by(fn {_path, {_layer, change}} -> change.scale end) |> Enum.max_by(&elem(&1, 1))

    scale = elem(scale, 0)

    tensors =
      for {path, {layer, change}} <- changes,
          {last, array} <- arrays(Change.role(layer), change, rank, scale),
          into: %{},
          do: {"#{Places.name(path, saved)}.#{last}", array}

    keys = changes |> Enum.map(fn {path, _taken} -> Places.key(path, saved) end) |> Enum.uniq()
    parameters = %{"rank" => rank, "scale" => scale, "dropout" => settings[:dropout] * 1.0, "keys" => keys}

    {tensors,
     %{
       "fine_tune_type" => "#{settings[:kind]}",
       "num_layers" => blocks(decoder, changes),
       "lora_parameters" => parameters
     }}
  end

  # mlx-lm takes so many of the last blocks.
  defp blocks(%{model: %{layers: layers}}, changes) do
    numbers = for {path, _taken} <- changes, number = Places.block(path), number >= 0, do: number
    if numbers == [], do: 1, else: length(layers) - Enum.min(numbers)
  end

  defp rank({_path, {layer, %{a: a}}}), do: elem(a.shape, rank_axis(Change.role(layer)))

  defp rank_axis(_role), do: 1

  defp arrays(role, change, rank, scale) do
    {b_axis, missing} = {if(role == :switch, do: 2, else: 0), rank - elem(change.a.shape, rank_axis(role))}
    b = if change.scale == scale, do: change.b, else: Mlx.multiply(change.b, change.scale / scale)

    for {name, array} <- [
          {"lora_a", filled(change.a, 1, missing)},
          {"lora_b", filled(b, b_axis, missing)},
          {"m", change.magnitude}
        ],
        array != nil,
        do: {name, array}
  end

  defp filled(array, _axis, 0), do: array

  defp filled(array, axis, missing) do
    Mlx.concatenate([array, Mlx.zeros(put_elem(array.shape, axis, missing), type: array.type)], axis: axis)
  end

  @doc "Writes the trained blocks of a full fine-tuning."
  @spec write_whole(Path.t(), Decoder.t(), map(), Saved.t(), pos_integer()) :: :ok
  def write_whole(folder, decoder, trained, saved, count) do
    tensors = Map.new(Saved.tensors(saved, Map.merge(decoder, trained)))
    write_files(folder, tensors, %{"fine_tune_type" => "full", "num_layers" => count, "lora_parameters" => nil})
  end
end
