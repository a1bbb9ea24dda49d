defmodule Mlx.LM.FineTuning.Fusing do
  @moduledoc false
  # A model of which an adapter has become a part, written into a new folder.

  alias Mlx.{Hub, NN}
  alias Mlx.LM.{Adapter, Checkpoint}
  alias Mlx.LM.Checkpoint.Folder
  alias Mlx.LM.Decoder.Matrix
  alias Mlx.LM.FineTuning.Places
  alias Mlx.LM.Quantization.Packing

  @doc "The options and their defaults. All but `:dequantize` are those of `Mlx.LM.Checkpoint.save/3`."
  @spec defaults() :: keyword()
  def defaults, do: [dequantize: false, families: %{}, shard_size: 5 * 1024 * 1024 * 1024, progress: nil]

  @doc "Writes the folder. Raises where something of its name is there."
  @spec run(Path.t(), Path.t(), Path.t(), keyword()) :: :ok
  def run(source, adapter, folder, options) do
    Folder.check_free!(folder)
    path = Hub.resolve(source)
    {dequantize?, others} = Keyword.pop!(options, :dequantize)
    form = if dequantize?, do: :dense, else: :quantized
    model = Checkpoint.tree(path, adapter: adapter, fuse: true, form: form, families: options[:families])
    refuse_beside!(model, adapter)
    model = if dequantize?, do: Packing.unpack(model, Matrix.type(model)), else: model
    Checkpoint.save(model, folder, [config: Checkpoint.config(path), from: path] ++ others)
  end

  # The rows of tokens that PEFT changes where they are looked up, and not in the same matrix as the output.
  defp refuse_beside!(model, adapter) do
    for {path, layer} <- NN.layers(Places.parts(model)), Adapter.Change.taken(layer) do
      raise Mlx.Error, "#{adapter} changes #{path} in one of its two uses, which no single matrix can hold"
    end
  end
end
