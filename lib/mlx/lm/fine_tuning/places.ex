defmodule Mlx.LM.FineTuning.Places do
  @moduledoc false
  # Which layers of a decoder get an adapter: those of the last blocks whose names are among the keys.
  #
  # A key is the name of a layer in its block, such as "self_attn.q_proj", in all of the last blocks, or the whole name of a
  # layer, such as "lm_head". Names may be those of the decoder or those of files.

  alias Mlx.LM.Adapter.Change
  alias Mlx.LM.Checkpoint.Saved
  alias Mlx.LM.Decoder
  alias Mlx.LM.Decoder.{QuantizedSwitchLinear, SwitchFeedForward, SwitchLinear}
  alias Mlx.LM.Names

  @type key :: String.t()

  @doc "The parts of a decoder that have arrays."
  @spec parts(Decoder.t()) :: map()
  def parts(decoder), do: Map.take(decoder, [:model, :lm_head])

  @doc """
  The paths of the layers, in their order. `count` is how many of the last blocks, or `:all`. Without keys, all layers of
  these blocks that can have an adapter of the kind. Raises for a key that no layer has.
  """
  @spec chosen(Decoder.t(), Saved.t(), :lora | :dora, pos_integer() | :all, [key()] | nil) :: [String.t()]
  def chosen(decoder, saved, kind, count, keys) do
    layers = changeable(decoder)
    first = first_block(decoder, count)
    if keys == nil, do: of_blocks(layers, kind, first), else: of_keys(layers, saved, kind, first, keys)
  end

  # Experts have no rows of which each could have one length.
  defp of_blocks(layers, kind, first) do
    for {path, layer} <- layers, block(path) >= first, kind == :lora or Change.role(layer) != :switch, do: path
  end

  defp of_keys(layers, saved, kind, first, keys) do
    named = for {path, layer} <- layers, do: {path, layer, names(path, saved)}

    for key <- keys, not Enum.any?(named, fn {_path, _layer, names} -> key in names end) do
      raise ArgumentError, "expected :keys to be names of layers, got: #{inspect(key)}. There are #{known(named)}"
    end

    for {path, layer, names} <- named, Enum.any?(names, &(&1 in keys)), block(path) >= first or block(path) < 0 do
      if kind == :dora and Change.role(layer) == :switch do
        raise ArgumentError, "#{path} is a layer of experts, which can have the kind :lora, and not :dora"
      end

      path
    end
  end

  defp known(named) do
    named |> Enum.map(fn {_path, _layer, names} -> List.last(names) end) |> Enum.uniq() |> Enum.join(", ")
  end

  # A stack of matrices that is no layer of experts is called in another way.
  defp changeable(decoder) do
    layers = Mlx.NN.layers(parts(decoder))
    experts = for {path, %SwitchFeedForward{}} <- layers, do: path

    for {path, %kind{} = layer} <- layers,
        Change.changeable?(layer),
        kind not in [SwitchLinear, QuantizedSwitchLinear] or Enum.any?(experts, &String.starts_with?(path, &1 <> ".")),
        do: {path, layer}
  end

  @doc "The number of the first block that is trained."
  @spec first_block(Decoder.t(), pos_integer() | :all) :: non_neg_integer()
  def first_block(_decoder, :all), do: 0

  def first_block(%{model: %{layers: blocks}}, count) do
    if count > length(blocks) do
      raise ArgumentError, "expected :layers to be at most #{length(blocks)}, the blocks of the model, got: #{count}"
    end

    length(blocks) - count
  end

  @doc "The number of the block that a path is in, or -1."
  @spec block(String.t()) :: integer()
  def block("model.layers." <> rest), do: rest |> Integer.parse() |> elem(0)
  def block(_path), do: -1

  # The names of a layer: in its block, or else whole; that of files comes last.
  defp names(path, saved), do: [relative(path), key(path, saved)]

  defp relative("model.layers." <> rest = path) do
    case String.split(rest, ".", parts: 2) do
      [_number, inner] -> inner
      [_number] -> path
    end
  end

  defp relative(path), do: path

  @doc "The key of the layer with a path, as mlx-lm has it."
  @spec key(String.t(), Saved.t()) :: key()
  def key(path, saved) do
    name = name(path, saved)

    case block(path) do
      -1 -> name
      number -> String.replace_prefix(name, name("model.layers.#{number}", saved) <> ".", "")
    end
  end

  @doc "The name of a path in the files of mlx-lm."
  @spec name(String.t(), Saved.t()) :: String.t()
  def name(path, %Saved{names: names, prefix: prefix}), do: Names.theirs(path, names, prefix)
end
