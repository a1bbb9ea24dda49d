defmodule Mlx.LM.FineTuning.Loading do
  @moduledoc false
  # A model of a folder, ready to be trained: with new adapters, with one of a folder, or with blocks that are trained whole.

  alias Mlx.LM.{Adapter, ChatTemplate, Checkpoint, Families, FineTuning, Tokenizer}
  alias Mlx.Arguments.OptionKinds
  alias Mlx.LM.Checkpoint.Saved
  alias Mlx.LM.FineTuning.{Places, Start}

  # As many blocks as mlx-lm takes where nobody says how many.
  @layers 16

  @layers_kind {&__MODULE__.layers?/1, "a positive integer, or :all"}
  @keys_kind {&__MODULE__.keys?/1, "a list of names of layers, such as [\"self_attn.q_proj\"], or nil"}

  @options [
    kind: {:lora, {:one_of, [:lora, :dora, :full]}},
    layers: {nil, {:optional, @layers_kind}},
    keys: {nil, @keys_kind},
    rank: {8, :at_least_one},
    scale: {20.0, :positive},
    dropout: {0.0, :fraction},
    adapter: {nil, :any},
    seed: {nil, {:optional, :seed}},
    type: {nil, {:optional, {:one_of, [:f32, :f16, :bf16]}}},
    families: {%{}, :any}
  ]

  @doc "The options, their defaults and kinds."
  @spec options() :: OptionKinds.t()
  def options, do: @options

  @doc "The model of a folder, which is called `source` in errors."
  @spec of_folder(Path.t(), Path.t(), keyword()) :: FineTuning.t()
  def of_folder(folder, source, options) do
    if not File.dir?(folder) do
      raise Mlx.Error, "#{source} is no folder; Mlx.LM.convert/3 makes one of a GGUF file"
    end

    fields = Checkpoint.config(folder)
    decoder = Checkpoint.tree(folder, type: options[:type], families: options[:families])

    tuning = %FineTuning{
      name: source |> Path.expand() |> Path.basename(),
      folder: folder,
      decoder: decoder,
      kind: options[:kind],
      settings: Keyword.take(options, [:kind, :rank, :scale, :dropout, :families]),
      first: 0,
      tokenizer: tokenizer(folder),
      template: ChatTemplate.from_folder(folder),
      saved: Saved.of(fields, options[:families]),
      fields: fields
    }

    tuning = if options[:adapter], do: go_on(tuning, options), else: start(tuning, options)
    %{tuning | decoder: Mlx.eval(tuning.decoder)}
  end

  # Who has batches of tokens needs none.
  defp tokenizer(folder) do
    if File.exists?(Path.join(folder, "tokenizer.json")), do: Tokenizer.from_folder(folder)
  end

  defp start(%{decoder: decoder, kind: kind} = tuning, options) do
    layers = options[:layers] || min(@layers, length(decoder.model.layers))
    first = Places.first_block(decoder, layers)
    tuning = %{tuning | first: first}

    if kind == :full do
      refuse_keys!(options)
      tuning
    else
      paths = Places.chosen(decoder, tuning.saved, kind, layers, options[:keys])
      if paths == [], do: raise(Mlx.Error, "#{tuning.name} has no layers for an adapter of the kind #{inspect(kind)}")
      %{tuning | decoder: seeded(options[:seed], fn -> Start.adapters(decoder, paths, kind, options) end)}
    end
  end

  defp refuse_keys!(options) do
    if options[:keys], do: raise(ArgumentError, "the option :keys is for adapters, and :full trains all of a block")
  end

  defp seeded(nil, fun), do: fun.()
  defp seeded(seed, fun), do: seed |> Mlx.Random.key() |> Mlx.Random.with_state(fun) |> elem(0)

  defp go_on(%{decoder: decoder, fields: fields} = tuning, options) do
    {family, text} = Families.find(fields, families: options[:families])
    {content, config, file} = Adapter.read(options[:adapter], family, text)

    if content.changes != %{} and content.replaced != %{} do
      raise Mlx.Error, "#{file} holds whole arrays beside changes of low rank; fuse it, and train what that gives"
    end

    kind = kind(content)
    refuse_keys!(Keyword.put(options, :keys, if(kind == :full, do: options[:keys])))
    decoder = Adapter.put(decoder, content, file, type: nil, fuse: false, form: :quantized, beside: true)
    decoder = Start.with_dropouts(decoder, options[:dropout])
    layers = options[:layers] || layers(config, decoder)
    settings = Keyword.put(tuning.settings, :kind, kind)
    %{tuning | decoder: decoder, kind: kind, settings: settings, first: Places.first_block(decoder, layers)}
  end

  defp kind(%{changes: changes}) when changes == %{}, do: :full
  defp kind(%{changes: changes}), do: if(Enum.any?(Map.values(changes), & &1.magnitude), do: :dora, else: :lora)

  defp layers(config, decoder) do
    count = length(decoder.model.layers)

    case config.map["num_layers"] do
      layers when is_integer(layers) and layers in 1..count//1 -> layers
      _none_or_all -> :all
    end
  end

  @doc false
  def layers?(value), do: value == :all or (is_integer(value) and value > 0)

  @doc false
  def keys?(nil), do: true
  def keys?(keys), do: Mlx.Arguments.ArgumentType.list?(keys) and keys != [] and Enum.all?(keys, &is_binary/1)
end
