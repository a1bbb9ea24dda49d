defmodule Mlx.LM.Encoder.Classifier do
  @moduledoc false
  # The scores of a text: `output(norm(f(dense(pooled))))`, where not every model has the normalisation.

  alias Mlx.{Array, NN}
  alias Mlx.LM.Activation
  alias Mlx.LM.Encoder.{Config, Parameter, Pooling}

  @derive {Inspect, only: [:activation, :pooling]}
  @enforce_keys [:dense, :norm, :output, :activation, :pooling]
  defstruct @enforce_keys

  @type t :: %__MODULE__{
          dense: struct(),
          norm: struct() | nil,
          output: struct(),
          activation: String.t(),
          pooling: :cls | :mean
        }

  @doc "The classifier of a configuration, with zeros for arrays, or nil."
  @spec new(Config.t()) :: t() | nil
  def new(%Config{classifier: nil}), do: nil

  def new(%Config{hidden_size: width, classifier: classifier} = config) do
    %__MODULE__{
      dense: Parameter.linear(width, width, classifier.bias),
      norm: if(classifier.norm, do: Parameter.norm(width, config.norm_eps, config.norm_bias)),
      output: Parameter.linear(width, classifier.labels, true),
      activation: classifier.activation,
      pooling: classifier.pooling
    }
  end

  @doc "The scores `{batch, labels}` of the vectors `{batch, length, width}` of texts with these lengths, `{batch}`."
  @spec call(t(), Array.t(), Array.t()) :: Array.t()
  def call(%__MODULE__{} = classifier, x, lengths) do
    x = x |> Pooling.call(lengths, [classifier.pooling]) |> NN.forward(classifier.dense)
    x = Activation.call(classifier.activation, x)
    x = if classifier.norm, do: NN.forward(x, classifier.norm), else: x
    NN.forward(x, classifier.output)
  end
end
