defmodule Mlx.LM.Embedder.Dense do
  @moduledoc false
  # A layer that some models have behind the pooling: `f(linear(x))`.

  alias Mlx.{Array, NN, Type}
  alias Mlx.LM.{Activation, JSONFile}
  alias Mlx.LM.Encoder.{Checkpoint, Parameter, Settings}

  @derive {Inspect, only: [:activation]}
  @enforce_keys [:linear, :activation]
  defstruct @enforce_keys

  @type t :: %__MODULE__{linear: struct(), activation: String.t()}

  # The last parts of the names of PyTorch's classes.
  @activations %{
    "Identity" => "identity",
    "Tanh" => "tanh",
    "GELU" => "gelu",
    "ReLU" => "relu",
    "SiLU" => "silu"
  }

  @doc "The layer in a folder of a model."
  @spec load(Path.t(), Type.t()) :: t()
  def load(folder, type) do
    json = JSONFile.read!(Path.join(folder, "config.json"))
    name = Map.get(json, "activation_function", "torch.nn.modules.activation.Tanh")
    class = if is_binary(name), do: name |> String.split(".") |> List.last()

    if not is_map_key(@activations, class) do
      Settings.fail!(
        "activation_function is #{inspect(name)}, expected one of #{Enum.join(Map.keys(@activations), ", ")}"
      )
    end

    {inputs, outputs} = {Settings.size!(json, "in_features"), Settings.size!(json, "out_features")}
    linear = Parameter.linear(inputs, outputs, Settings.boolean!(json, "bias", true))

    %__MODULE__{
      linear: Checkpoint.fill_linear(linear, Checkpoint.tensors(folder), type),
      activation: @activations[class]
    }
  end

  @doc "How many numbers a vector has before and after the layer."
  @spec sizes(t()) :: {pos_integer(), pos_integer()}
  def sizes(%__MODULE__{linear: %{weight: %Array{shape: {outputs, inputs}}}}), do: {inputs, outputs}

  @doc "The outputs for vectors `{batch, inputs}`."
  @spec call(t(), Array.t()) :: Array.t()
  def call(%__MODULE__{activation: "identity", linear: linear}, x), do: NN.forward(x, linear)
  def call(%__MODULE__{activation: name, linear: linear}, x), do: Activation.call(name, NN.forward(x, linear))
end
