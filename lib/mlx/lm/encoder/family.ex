defmodule Mlx.LM.Encoder.Family do
  @moduledoc false
  # What a family of encoders differs in: how it reads `config.json`, and how files name its tensors.

  alias Mlx.LM.Encoder.{Config, Families, FromDecoder, Settings}

  @typedoc """
  The names of layers in files by the names that they have here, those of a layer of the stack without its number.
  `"layers"` is what is in front of that number. Of a list, the layers are one layer here, the outputs of which are theirs
  one after the other.
  """
  @type names :: %{String.t() => String.t() | [String.t()]}

  @doc "The parts that a `config.json` describes. `classifier?` is whether texts are scored, not embedded."
  @callback config(Settings.json(), classifier? :: boolean()) :: Config.t()

  @doc "The names."
  @callback names() :: names()

  @doc "What may be in front of the names."
  @callback prefixes() :: [String.t()]

  # A row for each `model_type`.
  @families %{
    "bert" => Families.Bert,
    "camembert" => Families.Roberta,
    "distilbert" => Families.DistilBert,
    "modernbert" => Families.ModernBert,
    "nomic_bert" => Families.NomicBert,
    "roberta" => Families.Roberta,
    "xlm-roberta" => Families.Roberta
  }

  @doc "The types of models that there are."
  @spec types() :: [String.t()]
  def types, do: @families |> Map.keys() |> Enum.sort()

  @doc "The family that a `config.json` names. Raises `Mlx.Error` for another one."
  @spec fetch!(Settings.json()) :: module()
  def fetch!(json) do
    case json["model_type"] do
      type when is_map_key(@families, type) ->
        @families[type]

      nil ->
        Settings.fail!("model_type is missing, expected one of #{Enum.join(types(), ", ")}")

      other ->
        Settings.fail!(
          "model_type is #{inspect(other)}, and the encoders that can be loaded are " <>
            Enum.join(types() ++ FromDecoder.types(), ", ")
        )
    end
  end
end
