defmodule Mix.Mlx.FineTuningOutput do
  @moduledoc false
  # The folder of `mix mlx.lora`: the adapter, training.safetensors to go on from, and training.json with the options of the
  # training, which have to be the same when it goes on.

  @checkpoint "training.safetensors"
  @options "training.json"
  @adapter ["adapters.safetensors", "adapter_config.json"]

  # What a training that goes on has from its beginning, or what changes its bytes, and the defaults.
  @same [
    kind: :lora,
    layers: nil,
    key: nil,
    rank: 8,
    scale: 20.0,
    dropout: 0.0,
    adapter: nil,
    objective: :likelihood,
    beta: 0.1,
    mask_prompt: false,
    max_length: 2048,
    pack: false,
    batch_size: nil,
    accumulate: 1,
    optimizer: nil,
    learning_rate: nil,
    warmup: nil,
    decay: nil,
    clip_norm: nil,
    type: nil,
    seed: nil
  ]

  @doc "The path of the file to go on from."
  @spec checkpoint(Path.t()) :: Path.t()
  def checkpoint(folder), do: Path.join(folder, @checkpoint)

  @doc """
  Raises where a training with these options cannot begin in its folder, because a training or an adapter is there, or with
  `resume: true` cannot go on there, because the training that is there had other options.
  """
  @spec check!(keyword()) :: :ok
  def check!(options) do
    if options[:resume], do: check_same!(options[:output], options), else: check_free!(options[:output])
    :ok
  end

  @doc "Makes the folder of a training with these options."
  @spec begin!(keyword()) :: :ok
  def begin!(options) do
    File.mkdir_p!(options[:output])
    options[:output] |> Path.join(@options) |> File.write!(JSON.encode!(Map.new(same(options))))
  rescue
    error in File.Error ->
      reraise Mlx.Error, [message: "cannot write #{error.path}: #{:file.format_error(error.reason)}"], __STACKTRACE__
  end

  defp check_free!(folder) do
    with name when name != nil <- Enum.find([@checkpoint | @adapter], &there?(folder, &1)) do
      raise Mlx.Error,
            "#{folder} has #{name} already, which this training would replace; give --resume to go on with that training, " <>
              "another --output, or delete it"
    end
  end

  defp check_same!(folder, options) do
    cond do
      there?(folder, @checkpoint) ->
        former = former!(folder)
        for {name, value} <- same(options), do: check_option!(folder, name, value, former[Atom.to_string(name)])

      name = Enum.find(@adapter, &there?(folder, &1)) ->
        raise Mlx.Error,
              "#{folder} has #{name}, and no #{@checkpoint} that --resume could go on from; to train that adapter further, " <>
                "give --adapter #{folder} and another --output"

      true ->
        :ok
    end
  end

  defp check_option!(_folder, _name, value, value), do: :ok

  defp check_option!(folder, name, value, former) do
    flag = "--" <> (name |> Atom.to_string() |> String.replace("_", "-"))

    raise Mlx.Error,
          "#{flag} was #{text(former)} in the training of #{folder}, which --resume goes on with, and is #{text(value)} now; " <>
            "give the same, or begin a training with --adapter #{folder} and another --output"
  end

  # As they are in a file.
  defp same(options) do
    for {name, default} <- @same do
      value = with nil <- options[name], do: default
      {name, value |> JSON.encode!() |> JSON.decode!()}
    end
  end

  defp text(nil), do: "not given"
  defp text(list) when is_list(list), do: Enum.join(list, ", ")
  defp text(value), do: to_string(value)

  defp former!(folder) do
    path = Path.join(folder, @options)

    with {:ok, text} <- File.read(path), {:ok, %{} = former} <- JSON.decode(text) do
      former
    else
      _other ->
        raise Mlx.Error,
              "#{folder} has #{@checkpoint}, and no #{@options} with the options of that training, without which --resume " <>
                "could go on with others; begin a training with --adapter #{folder} and another --output"
    end
  end

  defp there?(folder, name), do: File.exists?(Path.join(folder, name))
end
