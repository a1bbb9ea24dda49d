defmodule Mlx.NN.MultiHeadAttention do
  @moduledoc """
  Scaled dot product attention of several heads, with a linear layer before each input and one after all heads.

  | layer | weight |
  | --- | --- |
  | `query_proj` | `{dims, query_input_dims}` |
  | `key_proj` | `{dims, key_input_dims}` |
  | `value_proj` | `{value_dims, value_input_dims}` |
  | `out_proj` | `{value_output_dims, value_dims}` |

  Source: Vaswani et al., "Attention Is All You Need" (2017). Python: `mlx.nn.MultiHeadAttention`.
  """

  use Mlx.Arguments.Mismatch

  alias Mlx.{Array, Fast, Type}
  alias Mlx.Arguments.Options
  alias Mlx.NN.Linear

  @derive Mlx.NN.Layer
  @enforce_keys [:num_heads, :query_proj, :key_proj, :value_proj, :out_proj]
  defstruct @enforce_keys

  @type t :: %__MODULE__{
          num_heads: pos_integer(),
          query_proj: Linear.t(),
          key_proj: Linear.t(),
          value_proj: Linear.t(),
          out_proj: Linear.t()
        }

  @doc """
  A layer of so many heads, which divide `dims`.

  Options:

    * `:query_input_dims`, `:key_input_dims` - the features of queries and keys, default `dims`
    * `:value_input_dims` - the features of values, default those of keys
    * `:value_dims` - the features of the values of all heads together, default `dims`
    * `:value_output_dims` - the features of the output, default `dims`
    * `:bias` - whether the linear layers have biases, default false

  Examples:

      iex> Mlx.NN.MultiHeadAttention.new(8, 2, value_output_dims: 5).out_proj
      #Mlx.NN.Linear<weight: f32[5][8], bias: nil>

  Python: `mlx.nn.MultiHeadAttention`.
  """
  @spec new(pos_integer(), pos_integer(), keyword()) :: t()
  def new(dims, num_heads, options \\ [])

  def new(dims, num_heads, options)
      when is_integer(dims) and dims > 0 and is_integer(num_heads) and num_heads > 0 and rem(dims, num_heads) == 0 do
    defaults = [
      query_input_dims: nil,
      key_input_dims: nil,
      value_input_dims: nil,
      value_dims: nil,
      value_output_dims: nil,
      bias: false
    ]

    [query_inputs, key_inputs, value_inputs, values, outputs, bias] =
      Options.without_stream(options, :"NN.MultiHeadAttention.new", defaults)

    key_inputs = key_inputs || dims
    values = values || dims

    %__MODULE__{
      num_heads: num_heads,
      query_proj: Linear.new(query_inputs || dims, dims, bias: bias),
      key_proj: Linear.new(key_inputs, dims, bias: bias),
      value_proj: Linear.new(value_inputs || key_inputs, values, bias: bias),
      out_proj: Linear.new(values, outputs || dims, bias: bias)
    }
  end

  def new(dims, num_heads, _options) when is_integer(dims) and is_integer(num_heads) and num_heads > 0 do
    raise ArgumentError,
          "Mlx.NN.MultiHeadAttention.new: expected a positive number of features that #{num_heads} heads divide, got: #{dims}"
  end

  @doc """
  The attention of an array `{batch, length, dims}` to itself, or of a tuple `{queries, keys, values}`, without a mask.

      iex> Mlx.NN.MultiHeadAttention.new(8, 2) |> Mlx.NN.MultiHeadAttention.call(Mlx.ones({1, 5, 8})) |> Mlx.shape()
      {1, 5, 8}

  Python: `MultiHeadAttention.__call__`.
  """
  @spec call(t(), Array.t() | {Array.t(), Array.t(), Array.t()}) :: Array.t()
  def call(%__MODULE__{} = layer, {%Array{} = queries, %Array{} = keys, %Array{} = values}) do
    call(layer, queries, keys, values)
  end

  def call(%__MODULE__{} = layer, %Array{} = x), do: call(layer, x, x, x)

  @doc """
  The outputs `{batch, query_length, value_output_dims}` for queries `{batch, query_length, query_input_dims}`, keys
  `{batch, key_length, key_input_dims}` and values `{batch, key_length, value_input_dims}`.

  Options:

    * `:mask` - as for `Mlx.Fast.scaled_dot_product_attention/4`: `:causal`, an array that is added to the scores, or a
      boolean array that is true where attention is allowed; arrays broadcast to
      `{batch, num_heads, query_length, key_length}`. Default `nil`

  Examples:

      iex> layer = Mlx.NN.MultiHeadAttention.new(8, 2)
      iex> x = Mlx.ones({1, 5, 8})
      iex> Mlx.NN.MultiHeadAttention.call(layer, x, x, x, mask: :causal).shape
      {1, 5, 8}

  Python: `MultiHeadAttention.__call__`.
  """
  @spec call(t(), Array.t(), Array.t(), Array.t(), keyword()) :: Array.t()
  def call(layer, queries, keys, values, options \\ [])

  def call(%__MODULE__{} = layer, %Array{} = queries, %Array{} = keys, %Array{} = values, options) do
    [mask] = Options.without_stream(options, :"NN.MultiHeadAttention.call", mask: nil)
    inputs = [{layer.query_proj, queries}, {layer.key_proj, keys}, {layer.value_proj, values}]

    [%Array{shape: {_, _, _, features}} = queries, keys, values] =
      for {projection, x} <- inputs, do: x |> batch!() |> Mlx.NN.forward(projection) |> split_heads(layer.num_heads)

    queries
    |> Fast.scaled_dot_product_attention(keys, values, scale: :math.sqrt(1 / features), mask: mask)
    |> Mlx.transpose(axes: [0, 2, 1, 3])
    |> Mlx.flatten(axes: [2, 3])
    |> Mlx.NN.forward(layer.out_proj)
  end

  defp batch!(%Array{shape: {_batch, _length, _features}} = x), do: x

  defp batch!(%Array{shape: shape}) do
    raise ArgumentError,
          "Mlx.NN.MultiHeadAttention.call: expected inputs {batch, length, features}, got the shape #{inspect(shape)}"
  end

  defp split_heads(x, heads), do: x |> Mlx.unflatten(-1, {heads, -1}) |> Mlx.transpose(axes: [0, 2, 1, 3])

  @doc """
  A mask `{length, length}` that is added to scores so that no position attends to later ones.

  Options:

    * `:type` - default `:f32`

  Examples:

      iex> mask = Mlx.NN.MultiHeadAttention.create_additive_causal_mask(2)
      iex> Mlx.less(mask, 0) |> Mlx.to_list()
      [[false, true], [false, false]]

  Python: `MultiHeadAttention.create_additive_causal_mask`.
  """
  @spec create_additive_causal_mask(pos_integer(), keyword()) :: Array.t()
  def create_additive_causal_mask(length, options \\ [])

  def create_additive_causal_mask(length, options) when is_integer(length) and length > 0 do
    function = :"NN.MultiHeadAttention.create_additive_causal_mask"
    [type] = Options.without_stream(options, function, type: :f32)
    type = Type.normalize!(type, function)
    positions = Mlx.arange(length)
    later = Mlx.less(Mlx.new_axis(positions, 1), Mlx.new_axis(positions, 0))
    later |> Mlx.as_type(type) |> Mlx.multiply(Type.min(type))
  end
end
