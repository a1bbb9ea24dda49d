defmodule Mlx.NN.PReLU do
  @moduledoc """
  The parametric rectified linear unit, whose slope for negative inputs is trained.

  | parameter | shape |
  | --- | --- |
  | `weight` | `{num_parameters}` |

  Python: `mlx.nn.PReLU`.
  """

  use Mlx.Arguments.Mismatch

  alias Mlx.Array
  alias Mlx.Arguments.Options
  alias Mlx.NN.Activations

  @derive Mlx.NN.Layer
  @enforce_keys [:weight]
  defstruct [:weight]

  @type t :: %__MODULE__{weight: Array.t()}

  @doc """
  The layer.

  Options:

    * `:num_parameters` - the number of slopes: 1 (default), or the size of the last axis of the inputs
    * `:init` - the first value of the slopes, default 0.25

  Examples:

      iex> Mlx.NN.PReLU.new(num_parameters: 3)
      #Mlx.NN.PReLU<weight: f32[3]>

  Python: `mlx.nn.PReLU`.
  """
  @spec new(keyword()) :: t()
  def new(options \\ []) do
    [count, init] = Options.without_stream(options, :"NN.PReLU.new", num_parameters: 1, init: 0.25)
    %__MODULE__{weight: Mlx.full({count}, init, type: :f32)}
  end

  @doc """
  `max(x, 0) + weight * min(x, 0)` for an array of any shape whose last axis fits the weight.

      iex> Mlx.NN.PReLU.new() |> Mlx.NN.PReLU.call(Mlx.array([-2.0, 3.0])) |> Mlx.to_list()
      [-0.5, 3.0]

  Python: `PReLU.__call__`.
  """
  @spec call(t(), Array.t()) :: Array.t()
  def call(%__MODULE__{weight: weight}, %Array{} = x), do: Activations.prelu(x, weight)
end
