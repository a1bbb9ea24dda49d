defmodule Mlx.NN.Bilinear do
  @moduledoc """
  A layer that is linear in each of two inputs: output `k` is `transpose(x2) @ weight[k] @ x1 + bias[k]`.

  | parameter | shape |
  | --- | --- |
  | `weight` | `{output_dims, input2_dims, input1_dims}` |
  | `bias` | `{output_dims}`, or `nil` |

  Python: `mlx.nn.Bilinear`.
  """

  use Mlx.Arguments.Mismatch

  alias Mlx.{Array, Random}
  alias Mlx.Arguments.Options
  alias Mlx.NN.Features

  @derive Mlx.NN.Layer
  @enforce_keys [:weight, :bias]
  defstruct [:weight, :bias]

  @type t :: %__MODULE__{weight: Array.t(), bias: Array.t() | nil}

  @doc """
  A layer for two inputs of so many features. Its parameters are uniform numbers between `-1 / sqrt(input1_dims)` and
  `1 / sqrt(input1_dims)`.

  Options:

    * `:bias` - whether it has a bias, default true

  Examples:

      iex> Mlx.NN.Bilinear.new(2, 3, 4)
      #Mlx.NN.Bilinear<weight: f32[4][3][2], bias: f32[4]>

  Python: `mlx.nn.Bilinear`.
  """
  @spec new(pos_integer(), pos_integer(), pos_integer(), keyword()) :: t()
  def new(input1_dims, input2_dims, output_dims, options \\ [])

  def new(input1_dims, input2_dims, output_dims, options)
      when is_integer(input1_dims) and input1_dims > 0 and is_integer(input2_dims) and input2_dims > 0 and
             is_integer(output_dims) and output_dims > 0 do
    [bias] = Options.without_stream(options, :"NN.Bilinear.new", bias: true)
    scale = :math.sqrt(1.0 / input1_dims)
    weight = Random.uniform({output_dims, input2_dims, input1_dims}, low: -scale, high: scale)
    %__MODULE__{weight: weight, bias: if(bias, do: Random.uniform({output_dims}, low: -scale, high: scale))}
  end

  @doc """
  `call/3` for a tuple of both inputs.

      iex> Mlx.NN.Bilinear.new(2, 3, 4) |> Mlx.NN.Bilinear.call({Mlx.ones({5, 2}), Mlx.ones({5, 3})}) |> Mlx.shape()
      {5, 4}

  Python: `Bilinear.__call__`.
  """
  @spec call(t(), {Array.t(), Array.t()}) :: Array.t()
  def call(%__MODULE__{} = layer, {%Array{} = x1, %Array{} = x2}), do: call(layer, x1, x2)

  @doc """
  The outputs `{..., output_dims}` for inputs `{..., input1_dims}` and `{..., input2_dims}` with the same leading axes.

      iex> layer = %Mlx.NN.Bilinear{weight: Mlx.array([[[1.0, 2.0]]]), bias: nil}
      iex> Mlx.NN.Bilinear.call(layer, Mlx.array([[1.0, 1.0]]), Mlx.array([[10.0]])) |> Mlx.to_list()
      [[30.0]]

  Python: `Bilinear.__call__`.
  """
  @spec call(t(), Array.t(), Array.t()) :: Array.t()
  def call(%__MODULE__{weight: weight, bias: bias}, %Array{} = x1, %Array{} = x2) do
    {outputs, size2, size1} = weight.shape
    Features.check!(x1, size1, "Mlx.NN.Bilinear.call")
    Features.check!(x2, size2, "Mlx.NN.Bilinear.call")

    products =
      x1
      |> Mlx.reshape({-1, size1})
      |> Mlx.matmul(weight |> Mlx.reshape({outputs * size2, size1}) |> Mlx.transpose())
      |> Mlx.reshape({-1, outputs, size2})
      |> Mlx.swap_axes(-2, -1)

    y =
      x2
      |> Mlx.reshape({-1, 1, size2})
      |> Mlx.matmul(products)
      |> Mlx.reshape(put_elem(x1.shape, tuple_size(x1.shape) - 1, outputs))

    if bias, do: Mlx.add(y, bias), else: y
  end
end
