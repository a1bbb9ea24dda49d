defmodule Mlx.NN.Sequential do
  @moduledoc """
  Layers and functions that are called one after another.

  A list of them does the same. This layer has the names of Python's: its first weight is `layers.0.weight` in a file,
  and that of a list `0.weight`.

  Python: `mlx.nn.Sequential`.
  """

  use Mlx.Arguments.Mismatch

  alias Mlx.NN.Layer

  @derive Mlx.NN.Layer
  @enforce_keys [:layers]
  defstruct [:layers]

  @type t :: %__MODULE__{layers: [Layer.t()]}

  @doc """
  The layer made of a list of layers and functions.

      iex> model = Mlx.NN.Sequential.new([Mlx.NN.Linear.new(2, 3), Mlx.NN.ReLU.new()])
      iex> for {path, _array} <- Mlx.Tree.flatten(model), do: path
      ["layers.0.bias", "layers.0.weight"]

  Python: `mlx.nn.Sequential`.
  """
  @spec new([Layer.t()]) :: t()
  def new(layers) when length(layers) >= 0, do: %__MODULE__{layers: layers}

  @doc """
  The output of the last layer.

      iex> Mlx.NN.Sequential.new([&Mlx.square/1, &Mlx.negate/1]) |> Mlx.NN.Sequential.call(Mlx.array([3])) |> Mlx.to_list()
      [-9]

  Python: `Sequential.__call__`.
  """
  @spec call(t(), term()) :: term()
  def call(%__MODULE__{layers: layers}, input), do: Layer.call(layers, input)
end
