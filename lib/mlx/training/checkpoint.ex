defmodule Mlx.Training.Checkpoint do
  @moduledoc false
  # A training in a safetensors file.
  #
  #     model.*, optimizer.*   arrays by their paths
  #     random, order          keys
  #     counts                 the integers of `@counts`
  #     counted                what was counted, if anything
  #     best                   the best value of early stopping
  #     losses.step, .value    the reports, the first one first
  #     validations.step, .*   the validations, each value by its name

  alias Mlx.{Training, Tree}

  @counts [:epoch, :batch, :step, :waited]

  @doc "Writes the file, which is whole or the former one."
  @spec save(Training.t(), Path.t()) :: :ok
  def save(training, path) do
    counts = for field <- @counts, do: Map.fetch!(training, field)

    %{"random" => training.random, "order" => training.order, "counts" => Mlx.array(counts, type: :s64)}
    |> Map.merge(named("model", training.model))
    |> Map.merge(named("optimizer", training.optimizer_state))
    |> Map.merge(best(training.best))
    |> Map.merge(counted(training.counted))
    |> Map.merge(losses(training.losses))
    |> Map.merge(validations(Enum.reverse(training.validations)))
    |> then(&Mlx.IO.save(path, &1))
  end

  defp named(name, container),
    do: for({path, array} <- Tree.flatten(container), into: %{}, do: {join(name, path), array})

  defp join(name, ""), do: name
  defp join(name, path), do: "#{name}.#{path}"

  defp best(nil), do: %{}
  defp best(value), do: %{"best" => Mlx.array(value, type: :f32)}

  defp counted(0), do: %{}
  defp counted(count), do: %{"counted" => integers(count)}

  defp losses([]), do: %{}

  defp losses(losses) do
    {steps, values} = losses |> Enum.reverse() |> Enum.unzip()
    %{"losses.step" => integers(steps), "losses.value" => floats(values)}
  end

  defp validations([]), do: %{}

  defp validations([{_step, values} | _] = validations) do
    for {name, _value} <- values,
        into: %{"validations.step" => integers(for {step, _values} <- validations, do: step)} do
      {"validations.value.#{name}", floats(for {_step, values} <- validations, do: Map.fetch!(values, name))}
    end
  end

  defp integers(numbers), do: Mlx.array(numbers, type: :s64)
  defp floats(list), do: Mlx.array(list, type: :f32)

  @doc "The training that the file holds, in the form of one that has not begun."
  @spec load(Path.t(), Training.t(), [atom()]) :: Training.t()
  def load(path, training, names) do
    # The file is replaced later, so that all is read now.
    arrays = path |> Mlx.IO.load() |> Mlx.eval()

    counts = Enum.zip(@counts, Mlx.to_list(fetch!(arrays, "counts", path)))

    struct!(
      training,
      [
        model: container!(arrays, "model", training.model, path),
        optimizer_state: container!(arrays, "optimizer", training.optimizer_state, path),
        random: fetch!(arrays, "random", path),
        order: fetch!(arrays, "order", path),
        best: if(best = arrays["best"], do: Mlx.to_number(best)),
        counted: if(counted = arrays["counted"], do: Mlx.to_number(counted), else: 0),
        losses: arrays["losses.step"] |> list() |> Enum.zip(list(arrays["losses.value"])) |> Enum.reverse(),
        validations: arrays |> read_validations(names) |> Enum.reverse()
      ] ++ counts
    )
  end

  defp read_validations(arrays, names) do
    columns =
      for name <- names, array = arrays["validations.value.#{name}"], do: for(value <- list(array), do: {name, value})

    arrays["validations.step"] |> list() |> Enum.zip(Enum.zip_with(columns, &Map.new/1))
  end

  defp list(nil), do: []
  defp list(array), do: Mlx.to_list(array)

  defp fetch!(arrays, name, path) do
    with nil <- arrays[name] do
      raise ArgumentError, "Mlx.Training.run: #{path} is not the checkpoint of a training, it has no #{inspect(name)}"
    end
  end

  defp container!(arrays, name, container, path) do
    found = for {key, array} <- arrays, path = below(key, name), do: {path, array}
    loaded = fitting!(found, name, container, path)

    Tree.map_with_path(container, [loaded], fn key, expected, array ->
      if {expected.shape, expected.type} != {array.shape, array.type} do
        raise ArgumentError,
              "Mlx.Training.run: #{path} holds #{join(name, key)} of the shape #{inspect(array.shape)} and type " <>
                "#{inspect(array.type)}, expected #{inspect(expected.shape)} and #{inspect(expected.type)}"
      end

      array
    end)
  end

  defp below(name, name), do: ""

  defp below(key, name) do
    start = name <> "."
    if String.starts_with?(key, start), do: String.replace_prefix(key, start, "")
  end

  defp fitting!(found, name, container, path) do
    Tree.unflatten(found, container)
  rescue
    error in ArgumentError ->
      reason = String.replace_prefix(error.message, "Mlx.Tree.unflatten: ", "")
      message = "Mlx.Training.run: #{path} does not fit the #{name}: #{reason}"
      reraise ArgumentError, [message: message], __STACKTRACE__
  end
end
