# Dropout and its forms that drop whole channels.
#
# module, the axes that share one draw, counted from the end; the ranks of inputs; what is dropped; an input and an example
for {name, shared, ranks, shapes, dropped, shape} <- [
      {:Dropout, [], nil, "an array of any shape", "elements", "{2, 3}"},
      {:Dropout2d, [2, 3], [3, 4], "an array `{batch, height, width, channels}`, or one without the batch", "channels",
       "{1, 4, 4, 2}"},
      {:Dropout3d, [2, 3, 4], [4, 5], "an array `{batch, depth, height, width, channels}`, or one without the batch",
       "channels", "{1, 2, 4, 4, 2}"}
    ] do
  module = Module.concat(Mlx.NN, name)

  defmodule module do
    @moduledoc """
    Sets #{dropped} to 0 with the probability `p` in training, and divides the others by `1 - p`, so that the expected value
    stays. After `Mlx.NN.eval/1` it gives back its input.

    The random numbers are those of the calling process, or in a compiled function those of `Mlx.Random.with_state/2`. Slices
    of `Mlx.vmap/2` share them, unless each has a state of its own.

    Source: #{if shared == [], do: "Srivastava et al., \"Dropout\" (2014)", else: "Tompson et al., \"Efficient Object Localization Using Convolutional Networks\" (2015)"}.
    Python: `mlx.nn.#{name}`.
    """

    use Mlx.Arguments.Mismatch

    alias Mlx.{Array, Random}
    alias Mlx.Arguments.{Given, Options}

    @derive Mlx.NN.Layer
    @enforce_keys [:p]
    defstruct [:p, training: true]

    @type t :: %__MODULE__{p: float(), training: boolean()}

    @shared shared
    @ranks ranks

    @doc """
    The layer.

    Options:

      * `:p` - the probability that something is dropped, at least 0 and less than 1; default 0.5

    Examples:

        iex> #{inspect(module)}.new(p: 0.1)
        #{"#"}#{inspect(module)}<p: 0.1, training: true>

    Python: `mlx.nn.#{name}`.
    """
    @spec new(keyword()) :: t()
    def new(options \\ []) do
      [p] = Options.without_stream(options, :"NN.#{unquote(name)}.new", p: 0.5)

      unless is_number(p) and p >= 0 and p < 1 do
        raise ArgumentError,
              "Mlx.NN.#{unquote(name)}.new: expected :p to be a number that is at least 0 and less than 1, " <>
                "got: #{Given.text(p)}"
      end

      %__MODULE__{p: p}
    end

    @doc """
    The output, of the shape of the input: #{shapes}.

        iex> layer = #{inspect(module)}.new(p: 0.5)
        iex> y = #{inspect(module)}.call(layer, Mlx.ones(#{shape}))
        iex> y |> Mlx.to_flat_list() |> Enum.all?(&(&1 in [0.0, 2.0]))
        true

    Python: `#{name}.__call__`.
    """
    @spec call(t(), Array.t()) :: Array.t()
    if @ranks do
      def call(%__MODULE__{}, %Array{shape: shape}) when tuple_size(shape) not in @ranks do
        raise ArgumentError,
              "Mlx.NN.#{unquote(name)}.call: expected an input of #{Enum.join(@ranks, " or ")} axes, got: #{inspect(shape)}"
      end
    end

    def call(%__MODULE__{p: p, training: training}, %Array{} = x) when p == 0 or not training, do: x

    def call(%__MODULE__{p: p}, %Array{shape: shape} = x) do
      draws = Enum.reduce(@shared, shape, fn axis, draws -> put_elem(draws, tuple_size(shape) - axis, 1) end)
      kept = 1 - p
      kept |> Random.bernoulli(shape: draws) |> Mlx.multiply(x) |> Mlx.multiply(1 / kept)
    end
  end
end
