defmodule Mlx.NN.Linear do
  @moduledoc """
  A linear layer: `y = x @ transpose(weight) + bias`.

  | parameter | shape |
  | --- | --- |
  | `weight` | `{output_dims, input_dims}` |
  | `bias` | `{output_dims}`, or `nil` |

  Python: `mlx.nn.Linear`.
  """

  use Mlx.Arguments.Mismatch

  alias Mlx.{Array, Random}
  alias Mlx.Arguments.Options
  alias Mlx.NN.{Features, Projection}

  @derive Mlx.NN.Layer
  @enforce_keys [:weight, :bias]
  defstruct [:weight, :bias]

  @type t :: %__MODULE__{weight: Array.t(), bias: Array.t() | nil}

  @doc """
  A layer for inputs of `input_dims` features and outputs of `output_dims`. Its parameters are uniform numbers between
  `-1 / sqrt(input_dims)` and `1 / sqrt(input_dims)`.

  Options:

    * `:bias` - whether it has a bias, default true

  Examples:

      iex> Mlx.NN.Linear.new(3, 4)
      #Mlx.NN.Linear<weight: f32[4][3], bias: f32[4]>

  Python: `mlx.nn.Linear`.
  """
  @spec new(pos_integer(), pos_integer(), keyword()) :: t()
  def new(input_dims, output_dims, options \\ [])

  def new(input_dims, output_dims, options)
      when is_integer(input_dims) and input_dims > 0 and is_integer(output_dims) and output_dims > 0 do
    [bias] = Options.without_stream(options, :"NN.Linear.new", bias: true)
    scale = :math.sqrt(1.0 / input_dims)
    weight = Random.uniform({output_dims, input_dims}, low: -scale, high: scale)
    %__MODULE__{weight: weight, bias: if(bias, do: Random.uniform({output_dims}, low: -scale, high: scale))}
  end

  @doc """
  The outputs `{..., output_dims}` for inputs `{..., input_dims}`.

      iex> layer = %Mlx.NN.Linear{weight: Mlx.array([[1.0, 2.0]]), bias: Mlx.array([0.5])}
      iex> Mlx.NN.Linear.call(layer, Mlx.array([[1.0, 1.0], [2.0, 0.0]])) |> Mlx.to_list()
      [[3.5], [2.5]]

  Python: `Linear.__call__`.
  """
  @spec call(t(), Array.t()) :: Array.t()
  def call(%__MODULE__{weight: weight, bias: bias}, %Array{} = x) do
    Features.check!(x, elem(weight.shape, 1), "Mlx.NN.Linear.call")
    Projection.apply(x, weight, bias)
  end
end
