defmodule Mlx.NN.GELU do
  @moduledoc """
  The Gaussian error linear unit, or an approximation of it, as a layer.

  Python: `mlx.nn.GELU`.
  """

  use Mlx.Arguments.Mismatch

  alias Mlx.Array
  alias Mlx.Arguments.Options
  alias Mlx.NN.Activations

  @derive Mlx.NN.Layer
  @enforce_keys [:approx]
  defstruct [:approx]

  @type t :: %__MODULE__{approx: :none | :precise | :tanh | :fast}

  @functions %{
    none: &Activations.gelu/1,
    precise: &Activations.gelu_approx/1,
    tanh: &Activations.gelu_approx/1,
    fast: &Activations.gelu_fast_approx/1
  }

  @doc """
  The layer.

  Options:

    * `:approx` - the function:

      | `:approx` | function |
      | --- | --- |
      | `:none` (default) | `Mlx.NN.Activations.gelu/1` |
      | `:precise`, `:tanh` | `Mlx.NN.Activations.gelu_approx/1` |
      | `:fast` | `Mlx.NN.Activations.gelu_fast_approx/1` |

  Examples:

      iex> Mlx.NN.GELU.new(approx: :fast)
      #Mlx.NN.GELU<approx: :fast>

  Python: `mlx.nn.GELU`.
  """
  @spec new(keyword()) :: t()
  def new(options \\ []) do
    [approx] = Options.without_stream(options, :"NN.GELU.new", approx: :none)

    unless is_map_key(@functions, approx) do
      raise ArgumentError,
            "Mlx.NN.GELU.new: expected :approx to be :none, :precise, :tanh or :fast, got: #{inspect(approx)}"
    end

    %__MODULE__{approx: approx}
  end

  @doc """
  What the function gives for an array of any shape.

      iex> Mlx.NN.GELU.new() |> Mlx.NN.GELU.call(Mlx.array([-0.5, 2.0])) |> Mlx.to_list() |> Enum.map(&Float.round(&1, 3))
      [-0.154, 1.954]

  Python: `GELU.__call__`.
  """
  @spec call(t(), Array.t()) :: Array.t()
  def call(%__MODULE__{approx: approx}, %Array{} = x), do: Map.fetch!(@functions, approx).(x)
end
