defmodule Mlx.LM.Encoder.Activation do
  @moduledoc false
  # The activations of encoders by the names that configurations have for them.

  alias Mlx.Array
  alias Mlx.NN.Activations

  @functions %{
    "gelu" => &Activations.gelu/1,
    "gelu_new" => &Activations.gelu_approx/1,
    "gelu_fast" => &Activations.gelu_approx/1,
    "gelu_pytorch_tanh" => &Activations.gelu_approx/1,
    "quick_gelu" => &Activations.gelu_fast_approx/1,
    "relu" => &Activations.relu/1,
    "silu" => &Activations.silu/1,
    "swish" => &Activations.silu/1,
    "tanh" => &Activations.tanh/1
  }

  @doc "The names."
  @spec names() :: [String.t()]
  def names, do: Map.keys(@functions)

  @doc "The activation of an array."
  @spec call(String.t(), Array.t()) :: Array.t()
  def call(name, x), do: Map.fetch!(@functions, name).(x)
end
