# Convolutions over one, two and three axes, and their transposes.
#
# name, function of Mlx, in words, the option that only one of them has, an example's result for a length of 5
for axes <- 1..3,
    {kind, function, title, own_option, length} <- [
      {"Conv", :conv, "A convolution", [feature_group_size: 1], "3"},
      {"ConvTranspose", :conv_transpose, "A transposed convolution", [output_padding: 0], "7"}
    ] do
  name = "#{kind}#{axes}d"
  module = Module.concat(Mlx.NN, name)
  options = [strides: 1, padding: 0, kernel_dilation: 1] ++ own_option
  over = Enum.at(["one axis", "two axes", "three axes"], axes - 1)
  for_each = fn text -> Enum.map_join(1..axes, ", ", &String.replace(text, "#", "#{&1}")) end

  defmodule module do
    @moduledoc """
    #{title} over #{over}, with the channels last, and a bias.

    | parameter | shape |
    | --- | --- |
    | `weight` | `{out_channels, #{for_each.("size_#")}, in_channels#{if function == :conv, do: " / feature_group_size"}}` |
    | `bias` | `{out_channels}`, or `nil` |

    The operation is `Mlx.#{function}/3`. Python: `mlx.nn.#{name}`.
    """

    use Mlx.Arguments.Mismatch

    alias Mlx.{Array, Random}
    alias Mlx.Arguments.Options
    alias Mlx.NN.{Features, Sizes}

    @options options
    @names Keyword.keys(options)

    @derive Mlx.NN.Layer
    @enforce_keys [:weight, :bias | @names]
    defstruct [:weight, :bias | @names]

    @type t :: %__MODULE__{weight: Array.t(), bias: Array.t() | nil}

    @doc """
    A layer for inputs of `in_channels` and outputs of `out_channels`, with a kernel of the size `kernel_size`#{if axes > 1, do: ", an integer for all axes or a tuple with one for each"}.

    The weight begins with uniform numbers between `-1 / sqrt(n)` and `1 / sqrt(n)`, where an output is the sum of `n`
    products. The bias begins with zeros.

    Options:

      * `:bias` - whether it has a bias, default true
      * #{options |> Keyword.keys() |> Enum.map_join(", ", &"`#{inspect(&1)}`")} - those of `Mlx.#{function}/3`, with the
        same defaults; what is for each axis may be a tuple, too#{if function == :conv, do: "; the number of groups divides the channels"}

    Examples:

        iex> Mlx.NN.#{name}.new(2, 4, 3).weight.shape
        {4, #{for_each.("3")}, 2}
        iex> Mlx.NN.#{name}.new(2, 4, 3, bias: false).bias
        nil

    Python: `mlx.nn.#{name}`.
    """
    @spec new(pos_integer(), pos_integer(), pos_integer() | tuple(), keyword()) :: t()
    def new(in_channels, out_channels, kernel_size, options \\ [])

    def new(in_channels, out_channels, kernel_size, options)
        when is_integer(in_channels) and in_channels > 0 and is_integer(out_channels) and out_channels > 0 and
               (is_integer(kernel_size) or is_tuple(kernel_size)) do
      function = "Mlx.NN.#{unquote(name)}.new"
      settings = Options.complete(options, :"NN.#{unquote(name)}.new", @options ++ [bias: true])
      kernel = Sizes.per_axis!(kernel_size, unquote(axes), 1, "kernel_size", function)
      inputs = inputs_of_group!(in_channels, Keyword.get(settings, :feature_group_size, 1), function)
      scale = :math.sqrt(1 / (inputs * Enum.product(kernel)))
      shape = List.to_tuple([out_channels | kernel] ++ [inputs])

      weight = Random.uniform(shape, low: -scale, high: scale)
      bias = if settings[:bias], do: Mlx.zeros({out_channels})
      settings = for name <- @names, do: {name, setting!(name, settings[name], function)}
      struct!(__MODULE__, [weight: weight, bias: bias] ++ settings)
    end

    if :feature_group_size in @names do
      defp setting!(:padding, padding, _function) when padding in [:same, :valid], do: padding
      defp setting!(:padding, [{_low, _high} | _] = pairs, _function), do: pairs
      defp setting!(:feature_group_size, groups, _function), do: groups
    end

    defp setting!(name, value, function) do
      least = if name in [:strides, :kernel_dilation], do: 1, else: 0
      Sizes.per_axis!(value, unquote(axes), least, inspect(name), function)
    end

    defp inputs_of_group!(channels, groups, _function)
         when is_integer(groups) and groups > 0 and rem(channels, groups) == 0,
         do: div(channels, groups)

    defp inputs_of_group!(channels, groups, function) do
      raise ArgumentError,
            "#{function}: expected :feature_group_size to be an integer that divides #{channels} channels, " <>
              "got: #{Mlx.Arguments.Given.text(groups)}"
    end

    @doc """
    The outputs for an array `{batch, #{for_each.("axis_#")}, in_channels}`.

        iex> layer = Mlx.NN.#{name}.new(2, 4, 3)
        iex> Mlx.NN.#{name}.call(layer, Mlx.ones({1, #{for_each.("5")}, 2})).shape
        {1, #{for_each.(length)}, 4}

    Python: `#{name}.__call__`.
    """
    @spec call(t(), Array.t()) :: Array.t()
    def call(%__MODULE__{weight: weight, bias: bias} = layer, %Array{shape: shape} = x)
        when tuple_size(shape) == unquote(axes + 2) do
      Features.check!(x, in_channels(layer), "Mlx.NN.#{unquote(name)}.call")
      y = Mlx.unquote(function)(x, weight, layer |> Map.take(@names) |> Map.to_list())
      if bias, do: Mlx.add(y, bias), else: y
    end

    def call(%__MODULE__{} = layer, %Array{shape: shape}) do
      raise ArgumentError,
            "Mlx.NN.#{unquote(name)}.call: expected an input {batch, #{unquote(for_each.("axis_#"))}, #{in_channels(layer)}}, " <>
              "got: #{inspect(shape)}"
    end

    defp in_channels(%__MODULE__{weight: weight} = layer) do
      elem(weight.shape, unquote(axes + 1)) * Map.get(layer, :feature_group_size, 1)
    end
  end
end
