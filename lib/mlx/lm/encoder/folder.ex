defmodule Mlx.LM.Encoder.Folder do
  @moduledoc false
  # An encoder in a folder: its model, its settings, and how texts become tokens for it.

  alias Mlx.{Hub, Type}
  alias Mlx.Arguments.Given
  alias Mlx.IO.FilePath
  alias Mlx.LM.{Encoder, JSONFile}
  alias Mlx.LM.Encoder.{Checkpoint, Config, Family, Quantized, Text}

  @enforce_keys [:name, :json, :config, :model, :text, :max_length, :type]
  defstruct @enforce_keys

  @type t :: %__MODULE__{
          name: String.t(),
          json: map(),
          config: Config.t(),
          model: Encoder.t(),
          text: Text.t() | nil,
          max_length: pos_integer(),
          type: Type.t()
        }

  @options [type: :f32, tokenizer: nil, form: nil, quantize: nil]

  @doc "The options of functions of `Mlx` that load an encoder, with their defaults."
  @spec options() :: keyword()
  def options, do: @options

  @doc "The folder of a path or of a name on the Hub that was given to a function of `Mlx`."
  @spec path!(term(), atom()) :: String.t()
  def path!(path, function) do
    path = path |> FilePath.string!(function) |> Hub.resolve()

    if File.dir?(path),
      do: path,
      else: Checkpoint.fail!("#{path} is a file, expected a folder with config.json and the weights")
  end

  @doc """
  The encoder of a folder, with a classifier or without. `options` are those of the function of `Mlx` that is called.
  """
  @spec load(Path.t(), boolean(), keyword(), atom()) :: t()
  def load(folder, classifier?, options, function) do
    type = type!(options[:type], function)
    recipe = Quantized.recipe!(options[:quantize], function)
    form = form!(options[:form], recipe)
    json = JSONFile.read!(Path.join(folder, "config.json"))
    family = Family.fetch!(json)
    config = family.config(json, classifier?)

    model =
      config
      |> Encoder.build()
      |> Checkpoint.fill(Checkpoint.tensors(folder), family, json, type)
      |> Quantized.in_form(form, type)
      |> Quantized.pack(recipe)

    %__MODULE__{
      name: Path.basename(folder),
      json: json,
      config: config,
      model: model,
      text: Text.new(options[:tokenizer], folder, config, function),
      max_length: min(config.max_length, model_max_length(folder)),
      type: type
    }
  end

  defp type!(type, function) do
    type = Type.normalize!(type, function)

    if type not in [:f32, :f16, :bf16] do
      raise ArgumentError, "Mlx.#{function}: expected :type to be :f32, :f16 or :bf16, got: #{Given.text(type)}"
    end

    type
  end

  # On a CPU products with dense matrices are faster.
  defp form!(nil, nil), do: if(Mlx.Device.default() == :cpu, do: :dense, else: :quantized)
  defp form!(form, _recipe) when form in [nil, :quantized], do: :quantized
  defp form!(:dense, nil), do: :dense

  defp form!(:dense, _recipe),
    do: raise(ArgumentError, "expected no :quantize with form: :dense, which unpacks everything")

  defp form!(other, _recipe),
    do: raise(ArgumentError, "expected :form to be :quantized or :dense, got: #{Given.text(other)}")

  # Where a tokenizer knows no limit, it has a very great number.
  defp model_max_length(folder) do
    case optional(folder, "tokenizer_config.json")["model_max_length"] do
      length when is_integer(length) and length > 0 -> length
      _none -> :infinity
    end
  end

  @doc "The object in a file of the folder, an empty one where the file is not there."
  @spec optional(Path.t(), Path.t()) :: %{String.t() => term()}
  def optional(folder, file) do
    path = Path.join(folder, file)
    if File.regular?(path), do: JSONFile.read!(path), else: %{}
  end
end
