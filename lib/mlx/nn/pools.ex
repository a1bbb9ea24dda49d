# Pooling over one, two and three axes.
#
# name, what becomes of a window, the function of Mlx for it, what the padding holds, an example's result
for axes <- 1..3,
    {kind, title, function, padded, result} <- [
      {"MaxPool", "The greatest element", :reduce_max, :neg_infinity, "[2.0, 4.0]"},
      {"AvgPool", "The mean", :mean, 0, "[1.5, 3.5]"}
    ] do
  name = "#{kind}#{axes}d"
  module = Module.concat(Mlx.NN, name)
  over = Enum.at(["one axis", "two axes", "three axes"], axes - 1)
  spatial = Enum.map_join(1..axes, ", ", &"axis_#{&1}")
  sizes = fn size -> Enum.map_join(1..axes, ", ", fn _ -> size end) end
  example = Enum.map_join(1..axes, ", ", &if(&1 == axes, do: "4", else: "1"))
  kernel = Enum.map_join(1..axes, ", ", &if(&1 == axes, do: "2", else: "1"))

  defmodule module do
    @moduledoc """
    #{title} of each window over #{over}, for each channel.

    Only windows side by side, as they are by default, can be mapped by `Mlx.vmap/2`.

    Python: `mlx.nn.#{name}`.
    """

    use Mlx.Arguments.Mismatch

    alias Mlx.Array
    alias Mlx.Arguments.Options
    alias Mlx.NN.{Sizes, Windows}

    @derive Mlx.NN.Layer
    @enforce_keys [:kernel_size, :strides, :padding]
    defstruct [:kernel_size, :strides, :padding]

    @type t :: %__MODULE__{kernel_size: [pos_integer()], strides: [pos_integer()], padding: [non_neg_integer()]}

    @doc """
    A layer with windows of the size `kernel_size`#{if axes > 1, do: ", an integer for all axes or a tuple with one for each"}.

    Options:

      * `:strides` - the steps from window to window, as the size; default the size
      * `:padding` - how much is added at both ends of each axis, as the size; default 0. The padding holds
        `#{inspect(padded)}`#{if function == :mean, do: ", which counts in the mean"}.

    Examples:

        iex> Mlx.NN.#{name}.new(2)
        #Mlx.NN.#{name}<kernel_size: [#{sizes.("2")}], strides: [#{sizes.("2")}], padding: [#{sizes.("0")}]>

    Python: `mlx.nn.#{name}`.
    """
    @spec new(pos_integer() | tuple(), keyword()) :: t()
    def new(kernel_size, options \\ [])

    def new(kernel_size, options) when is_integer(kernel_size) or is_tuple(kernel_size) do
      function = "Mlx.NN.#{unquote(name)}.new"
      [strides, padding] = Options.without_stream(options, :"NN.#{unquote(name)}.new", strides: nil, padding: 0)

      %__MODULE__{
        kernel_size: Sizes.per_axis!(kernel_size, unquote(axes), 1, "kernel_size", function),
        strides: Sizes.per_axis!(strides || kernel_size, unquote(axes), 1, ":strides", function),
        padding: Sizes.per_axis!(padding, unquote(axes), 0, ":padding", function)
      }
    end

    @doc """
    The outputs for an array `{batch, #{spatial}, channels}`: smaller along the axes between the batch and the channels.

        iex> layer = Mlx.NN.#{name}.new(#{if axes == 1, do: kernel, else: "{#{kernel}}"})
        iex> x = Mlx.array([1.0, 2.0, 3.0, 4.0]) |> Mlx.reshape({1, #{example}, 1})
        iex> Mlx.NN.#{name}.call(layer, x) |> Mlx.to_flat_list()
        #{result}

    Python: `#{name}.__call__`.
    """
    @spec call(t(), Array.t()) :: Array.t()
    def call(%__MODULE__{kernel_size: sizes, strides: strides, padding: padding}, %Array{shape: shape} = x)
        when tuple_size(shape) == unquote(axes + 2) do
      padded = padded(x, padding)
      fits!(padded.shape, sizes)

      padded
      |> Windows.of(sizes, strides)
      |> Mlx.unquote(function)(axes: Enum.to_list(unquote(axes + 1)..unquote(2 * axes)))
    end

    def call(%__MODULE__{}, %Array{shape: shape}) do
      raise ArgumentError,
            "Mlx.NN.#{unquote(name)}.call: expected an input {batch, #{unquote(spatial)}, channels}, got: #{inspect(shape)}"
    end

    defp padded(x, padding) do
      if Enum.all?(padding, &(&1 == 0)),
        do: x,
        else: Mlx.pad(x, [0 | padding] ++ [0], value: unquote(padded))
    end

    defp fits!(shape, sizes) do
      lengths = shape |> Tuple.to_list() |> tl()

      if Enum.zip(lengths, sizes) |> Enum.any?(fn {length, size} -> length < size end) do
        raise ArgumentError,
              "Mlx.NN.#{unquote(name)}.call: windows of the size #{inspect(sizes)} do not fit in an input, with its padding, " <>
                "of the shape #{inspect(shape)}"
      end
    end
  end
end
