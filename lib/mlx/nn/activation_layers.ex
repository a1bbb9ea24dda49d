# Layers that apply one function of Mlx.NN.Activations. Their fields are its options.
#
# module, function, options with their defaults, an example: an input and what comes out
for {name, function, options, input, output} <- [
      {:CELU, :celu, [alpha: 1.0], "[-0.5, 2.0]", "[-0.393, 2.0]"},
      {:ELU, :elu, [alpha: 1.0], "[-0.5, 2.0]", "[-0.393, 2.0]"},
      {:GLU, :glu, [axis: -1], "[1.0, 0.0]", "[0.5]"},
      {:HardShrink, :hard_shrink, [lambda: 0.5], "[-0.5, 2.0]", "[0.0, 2.0]"},
      {:HardTanh, :hard_tanh, [min: -1.0, max: 1.0], "[-0.5, 2.0]", "[-0.5, 1.0]"},
      {:Hardswish, :hardswish, [], "[-1.5, 4.0]", "[-0.375, 4.0]"},
      {:LeakyReLU, :leaky_relu, [negative_slope: 0.01], "[-0.5, 2.0]", "[-0.005, 2.0]"},
      {:LogSigmoid, :log_sigmoid, [], "[-0.5, 2.0]", "[-0.974, -0.127]"},
      {:LogSoftmax, :log_softmax, [axis: -1], "[1.0, 1.0]", "[-0.693, -0.693]"},
      {:Mish, :mish, [], "[-0.5, 2.0]", "[-0.221, 1.944]"},
      {:ReLU, :relu, [], "[-0.5, 2.0]", "[0.0, 2.0]"},
      {:ReLU2, :relu2, [], "[-0.5, 2.0]", "[0.0, 4.0]"},
      {:ReLU6, :relu6, [], "[-0.5, 8.0]", "[0.0, 6.0]"},
      {:SELU, :selu, [], "[-0.5, 2.0]", "[-0.692, 2.101]"},
      {:SiLU, :silu, [], "[-0.5, 2.0]", "[-0.189, 1.762]"},
      {:Sigmoid, :sigmoid, [], "[-0.5, 2.0]", "[0.378, 0.881]"},
      {:Softmax, :softmax, [axis: -1], "[1.0, 1.0]", "[0.5, 0.5]"},
      {:Softmin, :softmin, [axis: -1], "[-0.5, 2.0]", "[0.924, 0.076]"},
      {:Softplus, :softplus, [], "[-0.5, 2.0]", "[0.474, 2.127]"},
      {:Softshrink, :softshrink, [lambda: 0.5], "[-0.5, 2.0]", "[0.0, 1.5]"},
      {:Softsign, :softsign, [], "[-0.5, 3.0]", "[-0.333, 0.75]"},
      {:Step, :step, [threshold: 0.0], "[-0.5, 2.0]", "[0, 1]"},
      {:Tanh, :tanh, [], "[-0.5, 2.0]", "[-0.462, 0.964]"}
    ] do
  module = Module.concat(Mlx.NN, name)
  function_name = "Mlx.NN.Activations.#{function}/#{if options == [], do: 1, else: 2}"
  rounded = if function == :step, do: "", else: " |> Enum.map(&Float.round(&1, 3))"

  defmodule module do
    @moduledoc """
    The function `#{function_name}` as a layer.

    Python: `mlx.nn.#{name}`.
    """

    use Mlx.Arguments.Mismatch

    alias Mlx.Array
    alias Mlx.Arguments.Options
    alias Mlx.NN.Activations

    @options options

    @derive Mlx.NN.Layer
    defstruct @options

    @type t :: %__MODULE__{}

    if @options == [] do
      @doc """
      The layer.

          iex> #{inspect(module)}.new()
          #{"#"}#{inspect(module)}<>

      Python: `mlx.nn.#{name}`.
      """
      @spec new() :: t()
      def new, do: %__MODULE__{}

      @doc """
      What `#{function_name}` gives for an array of any shape.

          iex> layer = #{inspect(module)}.new()
          iex> #{inspect(module)}.call(layer, Mlx.array(#{input})) |> Mlx.to_list()#{rounded}
          #{output}

      Python: `#{name}.__call__`.
      """
      @spec call(t(), Array.t()) :: Array.t()
      def call(%__MODULE__{}, %Array{} = x), do: Activations.unquote(function)(x)
    else
      @doc """
      The layer, with the options of `#{function_name}`.

          iex> #{inspect(module)}.new(#{Enum.map_join(options, ", ", fn {option, default} -> "#{option}: #{inspect(default)}" end)})
          #{"#"}#{inspect(module)}<#{Enum.map_join(options, ", ", fn {option, default} -> "#{option}: #{inspect(default)}" end)}>

      Python: `mlx.nn.#{name}`.
      """
      @spec new(keyword()) :: t()
      def new(options \\ []) do
        struct!(__MODULE__, Options.complete(options, :"NN.#{unquote(name)}.new", @options))
      end

      @doc """
      What `#{function_name}` gives for an array of any shape.

          iex> layer = #{inspect(module)}.new()
          iex> #{inspect(module)}.call(layer, Mlx.array(#{input})) |> Mlx.to_list()#{rounded}
          #{output}

      Python: `#{name}.__call__`.
      """
      @spec call(t(), Array.t()) :: Array.t()
      def call(%__MODULE__{} = layer, %Array{} = x) do
        Activations.unquote(function)(x, layer |> Map.from_struct() |> Map.to_list())
      end
    end
  end
end
