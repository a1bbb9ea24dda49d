defprotocol Mlx.NN.Layer do
  @moduledoc """
  What can be called with an input: layers, and models made of them.

  A layer is a struct. Arrays in its fields are its parameters, whatever else is there is constant. A model of your own is
  a struct that derives this protocol and has a function `call/2`:

      defmodule Classifier do
        alias Mlx.NN
        alias Mlx.NN.{Activations, Linear}

        @derive NN.Layer
        defstruct [:hidden, :output]

        def new(inputs, classes) do
          %__MODULE__{hidden: Linear.new(inputs, 128), output: Linear.new(128, classes)}
        end

        def call(%__MODULE__{hidden: hidden, output: output}, x) do
          x |> NN.forward(hidden) |> Activations.relu() |> NN.forward(output)
        end
      end

  Its parameters have the paths `hidden.weight`, `hidden.bias`, `output.weight` and `output.bias` in `Mlx.Tree.flatten/1`,
  which are also their names in a file.

  Functions of one argument are layers, and so are lists: they call their elements one after another.

  Deriving takes the options:

    * `:kept` - the fields of arrays that training keeps as they are, such as running statistics; default `[]`
    * `:inspect` - whether `inspect/1` shows the layer by the types and shapes of its arrays, without their elements;
      default true

  Python: `mlx.nn.Module`.
  """

  @fallback_to_any true

  @doc """
  The output of a layer for an input. `Mlx.NN.forward/2` is the same for pipes.

      iex> Mlx.NN.Layer.call([Mlx.NN.ReLU.new(), &Mlx.negate/1], Mlx.array([-1.0, 2.0])) |> Mlx.to_list()
      [-0.0, -2.0]

  Python: `Module.__call__`.
  """
  @spec call(t(), term()) :: term()
  def call(layer, input)
end

defimpl Mlx.NN.Layer, for: Function do
  def call(fun, input) do
    Mlx.Arguments.Arity.check!(fun, 1, "Mlx.NN.Layer.call")
    fun.(input)
  end
end

defimpl Mlx.NN.Layer, for: List do
  def call(layers, input), do: Enum.reduce(layers, input, &Mlx.NN.Layer.call/2)
end

defimpl Mlx.NN.Layer, for: Any do
  defmacro __deriving__(module, _struct, options) do
    [kept, shown] = Mlx.Arguments.Options.without_stream(options, :"NN.Layer", kept: [], inspect: true)

    quote do
      @doc false
      def __layer__(:kept), do: unquote(kept)

      # One that comes after protocols were consolidated, as in a script, would only make a warning.
      if unquote(shown and not Protocol.consolidated?(Inspect)) do
        defimpl Inspect, for: unquote(module) do
          def inspect(layer, opts), do: Mlx.NN.Inspection.document(layer, opts)
        end
      end
    end
  end

  # Layers have no implementations of this protocol, which would be a module more for each: once protocols are consolidated,
  # that of a layer which a script defines would not be seen.
  def call(%module{} = layer, input) do
    if Mlx.NN.Layers.derives?(module) and function_exported?(module, :call, 2),
      do: module.call(layer, input),
      else: refuse!(layer)
  end

  def call(other, _input), do: refuse!(other)

  @spec refuse!(term()) :: no_return()
  defp refuse!(other) do
    raise ArgumentError,
          "Mlx.NN.Layer.call: expected a layer, which is a struct that derives Mlx.NN.Layer and has a function call/2, a " <>
            "function of one argument or a list of layers, got: #{Mlx.Arguments.Given.text(other)}"
  end
end
