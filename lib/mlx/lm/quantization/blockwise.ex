defmodule Mlx.LM.Quantization.Blockwise do
  @moduledoc false
  # A decoder that is quantized block after block. Each block is changed by what its layers read, and the next one reads what
  # the changed block gives, as it will in the quantized model.

  alias Mlx.{Array, NN}
  alias Mlx.LM.Decoder
  alias Mlx.LM.Decoder.Block
  alias Mlx.LM.Quantization.{Observed, Packing}

  @typedoc """
  Changes a block, or the map of the output layer, by the prefix of its paths, its notes by paths, and which path has the
  notes of another.
  """
  @type change :: (String.t(), map(), %{String.t() => Observed.notes()}, %{String.t() => String.t()} -> map())

  @doc "The decoder with changed blocks, of which what the change left as it is is rounded, as a method's context says."
  @spec quantize(Decoder.t(), map(), change()) :: Decoder.t()
  def quantize(decoder, context, change) do
    decoder |> run(context.batches, change, context.report) |> Packing.quantize(context.choose)
  end

  @doc "The decoder with changed blocks and a changed output layer, for batches of tokens. `report` gets `{:blocks, done, total}`."
  @spec run(Decoder.t(), [Array.t()], change(), (tuple() -> term())) :: Decoder.t()
  def run(%Decoder{config: %{loops: loops}}, _batches, _change, _report) when loops > 1 do
    raise Mlx.Error,
          "the model goes through its blocks #{loops} times, and blocks can be quantized one after the other only where each " <>
            "is read once; choose :round, :dynamic or :dwq"
  end

  def run(%Decoder{model: model} = decoder, batches, change, report) do
    caches = Decoder.unstored_caches(decoder)
    total = length(model.layers)
    report.({:blocks, 0, total})
    texts = for ids <- batches, do: decoder |> Decoder.enter(ids, caches) |> Tuple.insert_at(2, caches)

    {blocks, texts} =
      model.layers
      |> Enum.with_index()
      |> Enum.map_reduce(texts, fn {block, number}, texts ->
        prefix = "model.layers.#{number}."
        {:ok, notes, first} = Observed.of(block, prefix, fn watched -> Enum.each(texts, &watch(watched, &1)) end)
        block = prefix |> change.(block, notes, first) |> Mlx.eval()
        texts = for text <- texts, do: read(block, text)
        Mlx.Memory.clear_cache()
        report.({:blocks, number + 1, total})
        {block, texts}
      end)

    output(put_in(decoder.model.layers, blocks), texts, change)
  end

  defp watch(block, text) do
    block |> called(text) |> elem(0) |> Mlx.eval()
    Observed.settle()
  end

  defp read(block, text) do
    {x, {_used, left}, step} = called(block, text)
    {x, step} = Mlx.eval({x, step})
    {x, step, left}
  end

  defp called(block, {x, step, caches}), do: Block.call(block, x, {[], caches}, step)

  defp output(%Decoder{lm_head: nil} = decoder, _texts, _change), do: decoder

  defp output(%Decoder{lm_head: layer} = decoder, texts, change) do
    {:ok, notes, first} =
      Observed.of(%{lm_head: layer}, "", fn %{lm_head: watched} ->
        for {x, _step, _caches} <- texts do
          Mlx.eval(Decoder.leave(%{decoder | lm_head: watched}, x))
          Observed.settle()
        end

        :ok
      end)

    %{decoder | lm_head: change.("", %{lm_head: layer}, notes, first).lm_head}
  end

  @doc "Calls a function for each layer of a block with its whole path."
  @spec map_layers(map(), String.t(), (String.t(), struct() -> struct())) :: map()
  def map_layers(block, prefix, fun), do: NN.map_layers(block, fn path, layer -> fun.(prefix <> path, layer) end)
end
