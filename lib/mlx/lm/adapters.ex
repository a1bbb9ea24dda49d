defmodule Mlx.LM.Adapters do
  @moduledoc false
  # Several adapters on one model. Each is a decoder of its own, whose layers have the matrices of the base, and small ones
  # beside them; so each has its own compiled step.
  #
  # Layers that read the same are not joined here as they are for a model without adapters, because an adapter changes single
  # ones.

  alias Mlx.Arguments.Given
  alias Mlx.IO.FilePath
  alias Mlx.LM.{Adapter, Checkpoint, Decoder, Decoding, Families}
  alias Mlx.LM.Decoder.DoRALinear

  @enforce_keys [:base, :folder, :families, :type, :named]
  defstruct @enforce_keys

  @typep one :: %{model: Decoder.t(), decode: Decoding.t()}

  @type t :: %__MODULE__{
          base: one(),
          folder: Path.t(),
          families: map(),
          type: Mlx.Type.t() | nil,
          named: %{String.t() => one()}
        }

  @doc "The model of a folder for adapters. Raises for options that make no sense with several."
  @spec base(Path.t(), keyword()) :: Decoder.t()
  def base(folder, options) do
    if options[:adapter] || options[:fuse] do
      raise ArgumentError, "expected :adapter and :fuse, or :adapters, and not both"
    end

    Checkpoint.unjoined(folder, options)
  end

  @doc "The language model with adapters, a map of names and folders."
  @spec load(Mlx.LM.t(), %{String.t() => Path.t()}, Path.t(), keyword()) :: Mlx.LM.t()
  def load(lm, adapters, folder, options) do
    if not (is_map(adapters) and not is_struct(adapters) and Enum.all?(Map.keys(adapters), &is_binary/1)) do
      raise ArgumentError, "expected :adapters to be a map of names and folders, got: #{Given.text(adapters)}"
    end

    base = %{model: lm.model, decode: lm.decode}
    type = if Mlx.Device.default() == :cpu, do: options[:type] || :f32, else: options[:type]
    none = %__MODULE__{base: base, folder: folder, families: options[:families], type: type, named: %{}}
    Enum.reduce(adapters, %{lm | adapters: none}, fn {name, adapter}, lm -> put(lm, name, adapter) end)
  end

  @doc "The language model with an adapter more, or one less for nil."
  @spec put(Mlx.LM.t(), String.t(), Path.t() | nil) :: Mlx.LM.t()
  def put(%{adapters: nil} = lm, _name, _folder), do: refuse_plain!(lm)
  def put(%{adapters: adapters} = lm, name, nil), do: with_named(lm, Map.delete(adapters.named, name))

  def put(%{adapters: adapters} = lm, name, folder) do
    folder = FilePath.string!(folder, :"LM.put_adapter")
    fields = Checkpoint.config(adapters.folder)
    {family, text} = Families.find(fields, families: adapters.families)
    {content, _config, file} = Adapter.read(folder, family, text)

    if content.replaced != %{} do
      raise Mlx.Error, "#{file} holds whole arrays of the model; load it by the option :adapter"
    end

    options = [type: adapters.type, fuse: false, form: :quantized, beside: true]

    model =
      adapters.base.model
      |> with_one_matrix(content.changes)
      |> Adapter.put(content, file, options)
      |> fixed()
      |> Mlx.eval()

    with_named(lm, Map.put(adapters.named, name, %{model: model, decode: Decoding.compile(model)}))
  end

  defp with_named(%{adapters: adapters} = lm, named), do: %{lm | adapters: %{adapters | named: named}}

  # The output is the embedding, and changes with it, where it was copied to be multiplied faster.
  defp with_one_matrix(%{config: %{tied: true}} = decoder, %{"model.embed_tokens" => %{output: true}}) do
    %{decoder | lm_head: nil}
  end

  defp with_one_matrix(decoder, _changes), do: decoder

  defp fixed(decoder) do
    parts =
      Mlx.NN.map_layers(Map.take(decoder, [:model, :lm_head]), fn
        _path, %DoRALinear{} = layer -> DoRALinear.fixed(layer)
        _path, layer -> layer
      end)

    Map.merge(decoder, parts)
  end

  @doc "The language model for a call with these options, `:adapter` or none."
  @spec of_call(Mlx.LM.t(), keyword()) :: Mlx.LM.t()
  def of_call(lm, []), do: lm
  def of_call(lm, adapter: name), do: choose(lm, name)
  def of_call(lm, [_first | others]), do: of_call(lm, others)

  @doc "The language model with one of its adapters, or with none for nil."
  @spec choose(Mlx.LM.t(), String.t() | nil) :: Mlx.LM.t()
  def choose(%{adapters: nil} = lm, nil), do: lm
  def choose(%{adapters: nil} = lm, _name), do: refuse_plain!(lm)
  def choose(%{adapters: %{base: base}} = lm, nil), do: Map.merge(lm, base)

  def choose(%{adapters: %{named: named}} = lm, name) do
    case named do
      %{^name => one} -> Map.merge(lm, one)
      _others -> raise ArgumentError, "expected :adapter to be #{known(named)}, got: #{Given.text(name)}"
    end
  end

  defp known(named) when named == %{}, do: "nil, because the model has no adapters"
  defp known(named), do: "one of #{named |> Map.keys() |> Enum.sort() |> Enum.map_join(", ", &inspect/1)}, or nil"

  defp refuse_plain!(lm) do
    raise ArgumentError, "#{lm.name} was loaded without the option :adapters; give at least %{} there"
  end
end
