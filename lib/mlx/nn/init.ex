defmodule Mlx.NN.Init do
  @moduledoc """
  First values of parameters.

  An initializer is a function of an array that gives a new one of its shape:

      iex> initialize = Mlx.NN.Init.constant(0.5)
      iex> initialize.(Mlx.zeros({2})) |> Mlx.to_list()
      [0.5, 0.5]

  So it changes all parameters of a layer by `Mlx.Tree.map/2`, or some:

      iex> layer = Mlx.NN.Linear.new(2, 3)
      iex> layer = %{layer | bias: Mlx.NN.Init.constant(0.0).(layer.bias)}
      iex> Mlx.to_list(layer.bias)
      [0.0, 0.0, 0.0]

  Random numbers are those of the calling process: see `Mlx.Random`. For the same seed they are Python's.

  The initializers of Glorot and He need to know how many inputs and outputs a weight has. Its first axis is that of the
  outputs and its last axis that of the inputs; the axes in between are those of a convolution's kernel, and count for both.

  All take the option `:type` of the values, default `:f32`.

  Python: `mlx.nn.init`.
  """

  use Mlx.Arguments.Mismatch

  alias Mlx.{Array, Linalg, Random}
  alias Mlx.Arguments.Options

  @typedoc "An initializer."
  @type t :: (Array.t() -> Array.t())

  @doc """
  An initializer that gives one value.

      iex> Mlx.NN.Init.constant(2, type: :bf16).(Mlx.zeros({3})) |> Mlx.to_list()
      [2.0, 2.0, 2.0]

  Python: `mlx.nn.init.constant`.
  """
  @spec constant(Array.operand(), keyword()) :: t()
  def constant(value, options \\ [])

  def constant(value, options) when is_number(value) or is_struct(value, Array) do
    [type] = values(options, :constant, [])
    fn %Array{shape: shape} -> Mlx.full(shape, value, type: type) end
  end

  @doc """
  An initializer that gives normally distributed numbers.

  Options:

    * `:mean`, `:std` - mean and standard deviation, numbers; default 0.0 and 1.0
    * `:type` - default `:f32`

  Examples:

      iex> Mlx.NN.Init.normal(std: 0.02).(Mlx.zeros({2, 3})).shape
      {2, 3}

  Python: `mlx.nn.init.normal`.
  """
  @spec normal(keyword()) :: t()
  def normal(options \\ []) do
    [mean, std, type] = values(options, :normal, mean: 0.0, std: 1.0)
    fn %Array{shape: shape} -> Random.normal(shape, loc: mean, scale: std, type: type) end
  end

  @doc """
  An initializer that gives uniform numbers from `low` (included) to `high` (not included).

  Options:

    * `:low`, `:high` - numbers, default 0.0 and 1.0
    * `:type` - default `:f32`

  Examples:

      iex> x = Mlx.NN.Init.uniform(low: -2, high: -1).(Mlx.zeros({2, 3}))
      iex> Mlx.to_number(Mlx.all(Mlx.less(x, -1)))
      true

  Python: `mlx.nn.init.uniform`.
  """
  @spec uniform(keyword()) :: t()
  def uniform(options \\ []) do
    [low, high, type] = values(options, :uniform, low: 0.0, high: 1.0)
    fn %Array{shape: shape} -> Random.uniform(shape, low: low, high: high, type: type) end
  end

  @doc """
  An initializer that gives the identity matrix, for square matrices.

      iex> Mlx.NN.Init.identity().(Mlx.zeros({2, 2})) |> Mlx.to_list()
      [[1.0, 0.0], [0.0, 1.0]]

  Python: `mlx.nn.init.identity`.
  """
  @spec identity(keyword()) :: t()
  def identity(options \\ []) do
    [type] = values(options, :identity, [])

    fn
      %Array{shape: {size, size}} -> Mlx.eye(size, type: type)
      %Array{shape: shape} -> refuse!(:identity, "a square matrix", shape)
    end
  end

  @doc """
  An initializer of Glorot and Bengio that gives normally distributed numbers of the deviation
  `gain * sqrt(2 / (inputs + outputs))`.

  Options:

    * `:gain` - a number, default 1.0
    * `:type` - default `:f32`

  Examples:

      iex> Mlx.NN.Init.glorot_normal().(Mlx.zeros({4, 3, 3, 2})).shape
      {4, 3, 3, 2}

  Python: `mlx.nn.init.glorot_normal`.
  """
  @spec glorot_normal(keyword()) :: t()
  def glorot_normal(options \\ []) do
    [gain, type] = values(options, :glorot_normal, gain: 1.0)

    fn %Array{shape: shape} ->
      {inputs, outputs} = fans!(shape, :glorot_normal)
      Random.normal(shape, scale: gain * :math.sqrt(2.0 / (inputs + outputs)), type: type)
    end
  end

  @doc """
  An initializer of Glorot and Bengio that gives uniform numbers from `-limit` to the limit
  `gain * sqrt(6 / (inputs + outputs))`.

  Options:

    * `:gain` - a number, default 1.0
    * `:type` - default `:f32`

  Examples:

      iex> x = Mlx.NN.Init.glorot_uniform().(Mlx.zeros({3, 3}))
      iex> Mlx.to_number(Mlx.all(Mlx.less(Mlx.abs(x), 1)))
      true

  Python: `mlx.nn.init.glorot_uniform`.
  """
  @spec glorot_uniform(keyword()) :: t()
  def glorot_uniform(options \\ []) do
    [gain, type] = values(options, :glorot_uniform, gain: 1.0)

    fn %Array{shape: shape} ->
      {inputs, outputs} = fans!(shape, :glorot_uniform)
      limit = gain * :math.sqrt(6.0 / (inputs + outputs))
      Random.uniform(shape, low: -limit, high: limit, type: type)
    end
  end

  @doc """
  An initializer of He et al. that gives normally distributed numbers of the deviation `gain / sqrt(fan)`.

  Options:

    * `:mode` - what the fan is, the number of inputs (`:fan_in`, default) or of outputs (`:fan_out`)
    * `:gain` - a number, default 1.0
    * `:type` - default `:f32`

  Examples:

      iex> Mlx.NN.Init.he_normal(mode: :fan_out).(Mlx.zeros({4, 2})).shape
      {4, 2}

  Python: `mlx.nn.init.he_normal`.
  """
  @spec he_normal(keyword()) :: t()
  def he_normal(options \\ []) do
    [mode, gain, type] = values(options, :he_normal, mode: :fan_in, gain: 1.0)
    mode!(mode, :he_normal)

    fn %Array{shape: shape} ->
      Random.normal(shape, scale: gain / :math.sqrt(fan!(shape, mode, :he_normal)), type: type)
    end
  end

  @doc """
  An initializer of He et al. that gives uniform numbers from `-limit` to the limit `gain * sqrt(3 / fan)`.

  The options are those of `he_normal/1`.

      iex> x = Mlx.NN.Init.he_uniform().(Mlx.zeros({5, 3}))
      iex> Mlx.to_number(Mlx.all(Mlx.less(Mlx.abs(x), 1)))
      true

  Python: `mlx.nn.init.he_uniform`.
  """
  @spec he_uniform(keyword()) :: t()
  def he_uniform(options \\ []) do
    [mode, gain, type] = values(options, :he_uniform, mode: :fan_in, gain: 1.0)
    mode!(mode, :he_uniform)

    fn %Array{shape: shape} ->
      limit = gain * :math.sqrt(3.0 / fan!(shape, mode, :he_uniform))
      Random.uniform(shape, low: -limit, high: limit, type: type)
    end
  end

  @doc """
  An initializer that gives matrices of normally distributed numbers of which a part of each row, at random places, is 0.

  Options:

    * `:mean`, `:std` - mean and standard deviation of the others, numbers; default 0.0 and 1.0
    * `:type` - default `:f32`

  Examples:

      iex> x = Mlx.NN.Init.sparse(0.5).(Mlx.zeros({2, 4}))
      iex> Mlx.count_nonzero(x, axes: [1]) |> Mlx.to_list()
      [2, 2]

  Python: `mlx.nn.init.sparse`.
  """
  @spec sparse(number(), keyword()) :: t()
  def sparse(part, options \\ [])

  def sparse(part, options) when is_number(part) and part >= 0 and part <= 1 do
    [mean, std, type] = values(options, :sparse, mean: 0.0, std: 1.0)

    fn
      %Array{shape: {rows, columns} = shape} ->
        order = shape |> Random.uniform() |> Mlx.argsort(axis: 1)
        numbers = Random.normal(shape, loc: mean, scale: std, type: type)
        places = Mlx.slice(order, [0, 0], [rows, ceil(part * columns)])
        Mlx.put_along_axis(numbers, places, 0, axis: 1)

      %Array{shape: shape} ->
        refuse!(:sparse, "a matrix", shape)
    end
  end

  def sparse(part, _options) do
    raise ArgumentError,
          "Mlx.NN.Init.sparse: expected the part of zeros, a number from 0 to 1, got: #{Mlx.Arguments.Given.text(part)}"
  end

  @doc """
  An initializer that gives matrices whose rows, or columns where these are fewer, are orthogonal and of the length `gain`.

  Options:

    * `:gain` - a number, default 1.0
    * `:type` - default `:f32`

  Examples:

      iex> q = Mlx.NN.Init.orthogonal().(Mlx.zeros({2, 3}))
      iex> q |> Mlx.matmul(Mlx.transpose(q)) |> Mlx.all_close(Mlx.eye(2), atol: 1.0e-5) |> Mlx.to_number()
      true

  Python: `mlx.nn.init.orthogonal`.
  """
  @spec orthogonal(keyword()) :: t()
  def orthogonal(options \\ []) do
    [gain, type] = values(options, :orthogonal, gain: 1.0)

    fn
      %Array{shape: {rows, columns}} ->
        size = max(rows, columns)
        {q, r} = {size, size} |> Random.normal() |> Linalg.qr()
        # The factorisation is made unique, so that all rotations are equally likely.
        q = Mlx.multiply(q, Mlx.sign(Mlx.diag(r)))
        q |> Mlx.slice([0, 0], [rows, columns]) |> Mlx.multiply(gain) |> Mlx.as_type(type)

      %Array{shape: shape} ->
        refuse!(:orthogonal, "a matrix", shape)
    end
  end

  defp values(options, function, defaults) do
    Options.without_stream(options, :"NN.Init.#{function}", defaults ++ [type: :f32])
  end

  defp fan!(shape, mode, function) do
    {inputs, outputs} = fans!(shape, function)
    if mode == :fan_in, do: inputs, else: outputs
  end

  defp fans!(shape, _function) when tuple_size(shape) >= 2 do
    [outputs | rest] = Tuple.to_list(shape)
    {kernel, [inputs]} = Enum.split(rest, -1)
    {inputs * Enum.product(kernel), outputs * Enum.product(kernel)}
  end

  defp fans!(shape, function), do: refuse!(function, "an array of two axes or more", shape)

  defp mode!(mode, _function) when mode in [:fan_in, :fan_out], do: :ok

  defp mode!(mode, function) do
    raise ArgumentError, "Mlx.NN.Init.#{function}: expected :mode to be :fan_in or :fan_out, got: #{inspect(mode)}"
  end

  defp refuse!(function, expected, shape) do
    raise ArgumentError,
          "Mlx.NN.Init.#{function}: the initializer expected #{expected}, got the shape #{inspect(shape)}"
  end
end
