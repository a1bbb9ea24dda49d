defmodule Mlx.LM.Encoder.Folder do
  @moduledoc false
  # An encoder in a folder: its model, its settings, and how texts become tokens for it.

  alias Mlx.{Hub, Type}
  alias Mlx.Arguments.Given
  alias Mlx.IO.FilePath
  alias Mlx.LM.{Encoder, JSONFile}
  alias Mlx.LM.Encoder.{Checkpoint, Config, Family, FromDecoder, Judgement, Quantized, Text}

  @enforce_keys [:name, :json, :config, :model, :text, :max_length, :type]
  defstruct @enforce_keys

  @type t :: %__MODULE__{
          name: String.t(),
          json: map(),
          config: Config.t(),
          model: Encoder.t() | FromDecoder.t(),
          text: Text.t() | nil,
          max_length: pos_integer(),
          type: Type.t()
        }

  # A decoder says yes or no behind a pair.
  @judging %{labels: 1, pooling: :last, activation: "identity", bias: false, norm: false}

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
    {model, config} = model(folder, json, classifier?, form, recipe, type)
    text = Text.new(options[:tokenizer], folder, config, function)

    %__MODULE__{
      name: Path.basename(folder),
      json: json,
      config: config,
      model: if(classifier?, do: with_answers(model, text), else: model),
      text: text,
      max_length: min(config.max_length, model_max_length(folder)),
      type: type
    }
  end

  defp model(folder, json, classifier?, form, recipe, type) do
    if json["model_type"] in FromDecoder.types() do
      {model, config} = FromDecoder.load(folder, json, classifier?, {form, recipe, type})
      {model, if(classifier?, do: %{config | classifier: @judging}, else: config)}
    else
      family = Family.fetch!(json)
      config = family.config(json, classifier?)

      model =
        config
        |> Encoder.build()
        |> Checkpoint.fill(Checkpoint.tensors(folder), family, json, type)
        |> Quantized.in_form(form, type)
        |> Quantized.pack(recipe)

      {model, config}
    end
  end

  defp with_answers(%FromDecoder{}, nil) do
    Checkpoint.fail!("a ranker that answers yes or no needs a tokenizer: the folder has no tokenizer.json")
  end

  defp with_answers(%FromDecoder{} = model, text), do: FromDecoder.judging(model, Judgement.answers!(text))
  defp with_answers(model, _text), do: model

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
