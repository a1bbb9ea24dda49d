defmodule Mlx.NN.Upsample do
  @moduledoc """
  Enlarges or reduces an array `{batch, axis_1, ..., channels}` along the axes between the batch and the channels.

  | `:mode` | an element of the result is |
  | --- | --- |
  | `:nearest` | the nearest one |
  | `:linear` | an interpolation of two neighbours along each axis |
  | `:cubic` | an interpolation of four neighbours along each axis |

  Python: `mlx.nn.Upsample`.
  """

  use Mlx.Arguments.Mismatch

  alias Mlx.Array
  alias Mlx.Arguments.{Given, Options}
  alias Mlx.NN.Interpolation

  @derive Mlx.NN.Layer
  @enforce_keys [:scale_factor, :mode, :align_corners, :antialias]
  defstruct @enforce_keys

  @type t :: %__MODULE__{
          scale_factor: number() | tuple(),
          mode: :nearest | :linear | :cubic,
          align_corners: boolean(),
          antialias: boolean()
        }

  @modes [:nearest, :linear, :cubic]

  @doc """
  A layer that multiplies the sizes with a factor, a positive number for all axes or a tuple with one for each.

  Options:

    * `:mode` - default `:nearest`
    * `:align_corners` - whether the first and last elements of both arrays are at the same places, which only interpolation
      knows; default false
    * `:antialias` - whether interpolation takes in all elements that a reduced one stands for, not with `:nearest` and not
      with `:align_corners`; default false

  Examples:

      iex> Mlx.NN.Upsample.new(2, mode: :linear)
      #Mlx.NN.Upsample<scale_factor: 2, mode: :linear, align_corners: false, antialias: false>

  Python: `mlx.nn.Upsample`.
  """
  @spec new(number() | tuple(), keyword()) :: t()
  def new(scale_factor, options \\ [])

  def new(scale_factor, options) when is_number(scale_factor) or is_tuple(scale_factor) do
    defaults = [mode: :nearest, align_corners: false, antialias: false]
    settings = Options.complete(options, :"NN.Upsample.new", defaults)
    factors = if is_tuple(scale_factor), do: Tuple.to_list(scale_factor), else: [scale_factor]

    cond do
      not Enum.all?(factors, &(is_number(&1) and &1 > 0)) ->
        refuse!("positive factors", scale_factor)

      settings[:mode] not in @modes ->
        refuse!(":mode to be one of #{inspect(@modes)}", settings[:mode])

      settings[:antialias] && settings[:mode] == :nearest ->
        refuse!(":mode to be :linear or :cubic with :antialias", :nearest)

      settings[:antialias] && settings[:align_corners] ->
        refuse!(":align_corners to be false with :antialias", true)

      true ->
        struct!(__MODULE__, [scale_factor: scale_factor] ++ settings)
    end
  end

  defp refuse!(expected, given) do
    raise ArgumentError, "Mlx.NN.Upsample.new: expected #{expected}, got: #{Given.text(given)}"
  end

  @doc """
  The enlarged or reduced array.

      iex> x = Mlx.array([1.0, 2.0]) |> Mlx.reshape({1, 2, 1})
      iex> Mlx.NN.Upsample.new(2) |> Mlx.NN.Upsample.call(x) |> Mlx.flatten() |> Mlx.to_list()
      [1.0, 1.0, 2.0, 2.0]
      iex> Mlx.NN.Upsample.new(2, mode: :linear) |> Mlx.NN.Upsample.call(x) |> Mlx.flatten() |> Mlx.to_list()
      [1.0, 1.25, 1.75, 2.0]

  Python: `Upsample.__call__`.
  """
  @spec call(t(), Array.t()) :: Array.t()
  def call(%__MODULE__{} = layer, %Array{shape: shape} = x) when tuple_size(shape) >= 3 do
    factors = factors!(layer.scale_factor, tuple_size(shape) - 2)
    check_sizes!(shape, factors)

    case layer do
      %{mode: :nearest} -> Interpolation.nearest(x, factors)
      %{align_corners: true} -> Interpolation.joint(x, factors, layer)
      %{mode: :cubic, antialias: false} -> Interpolation.joint(x, factors, layer)
      _separable -> Interpolation.separable(x, factors, layer)
    end
  end

  def call(%__MODULE__{}, %Array{shape: shape}) do
    raise ArgumentError,
          "Mlx.NN.Upsample.call: expected an input of three axes or more {batch, ..., channels}, got: #{inspect(shape)}"
  end

  defp check_sizes!(shape, factors) do
    for {factor, axis} <- Enum.with_index(factors, 1), size = elem(shape, axis), trunc(factor * size) == 0 do
      raise ArgumentError,
            "Mlx.NN.Upsample.call: the factor #{factor} leaves nothing of axis #{axis} of an input of the shape " <>
              inspect(shape)
    end
  end

  defp factors!(factor, axes) when is_number(factor), do: List.duplicate(factor, axes)
  defp factors!(factors, axes) when tuple_size(factors) == axes, do: Tuple.to_list(factors)

  defp factors!(factors, axes) do
    raise ArgumentError,
          "Mlx.NN.Upsample.call: the layer has the factors #{inspect(factors)}, and the input has #{axes} axes between the " <>
            "batch and the channels"
  end
end
