defmodule Mlx.Fast do
  @moduledoc """
  Fused operations of neural networks: one kernel where a GPU has it, the same values everywhere.

  Python: `mlx.core.fast`.
  """

  use Mlx.NonFinite.Definitions

  alias Mlx.{Array, Fast, Native}
  alias Mlx.Arguments.{Operand, Options}
  alias Mlx.Ops.DoublePrecision

  @doc """
  Root mean square normalisation over the last axis: `x / sqrt(mean(x ** 2) + eps) * weight`.

  `weight` has the size of the last axis, or is `nil`.

  Options:

    * `:eps` - default `1.0e-5`

  Examples:

      iex> x = Mlx.array([[3.0, 4.0]])
      iex> Mlx.Fast.rms_norm(x, Mlx.array([1.0, 2.0]), eps: 0.0) |> Mlx.multiply(Mlx.sqrt(12.5)) |> Mlx.round() |> Mlx.to_list()
      [[3.0, 8.0]]

  Python: `mlx.core.fast.rms_norm`.
  """
  @spec rms_norm(Array.t(), Array.t() | nil, keyword()) :: Array.t()
  def rms_norm(x, weight, options \\ []) do
    [eps, stream] = Options.values(options, :"Fast.rms_norm", eps: 1.0e-5)

    case Native.fast_rms_norm(x, weight, eps, stream) do
      %Array{type: :f64} -> in_double(stream, fn -> Fast.DoublePrecision.rms_norm(x, weight, eps) end)
      normal -> normal
    end
  end

  @doc """
  Layer normalisation over the last axis: `(x - mean(x)) / sqrt(variance(x) + eps) * weight + bias`.

  `weight` and `bias` have the size of the last axis, or are `nil`.

  Options:

    * `:eps` - default `1.0e-5`

  Examples:

      iex> Mlx.Fast.layer_norm(Mlx.array([1.0, 3.0]), nil, Mlx.array([0.0, 5.0]), eps: 0.0) |> Mlx.to_list()
      [-1.0, 6.0]

  Python: `mlx.core.fast.layer_norm`.
  """
  @spec layer_norm(Array.t(), Array.t() | nil, Array.t() | nil, keyword()) :: Array.t()
  def layer_norm(x, weight, bias, options \\ []) do
    [eps, stream] = Options.values(options, :"Fast.layer_norm", eps: 1.0e-5)

    case Native.fast_layer_norm(x, weight, bias, eps, stream) do
      %Array{type: :f64} -> in_double(stream, fn -> Fast.DoublePrecision.layer_norm(x, weight, bias, eps) end)
      normal -> normal
    end
  end

  @doc """
  The gated delta rule over a sequence: a state of a matrix for each head, which decays, forgets what it holds for a key and
  takes the value in its place, and is read with the query at each step.

  At step `t`, with the state `S`: `S = gate * S`, `S = S + beta * (value - S key) keyᵀ`, `output = S query`.

  | argument | shape |
  | --- | --- |
  | `queries`, `keys` | `{batch, length, key heads, key size}` |
  | `values` | `{batch, length, heads, size}`; the heads are a multiple of the key heads |
  | `gates`, `beta` | `{batch, length, heads}`; a gate is a factor from 0 to 1 |

  The result is `{outputs, state}`: an array as `values` and the `:f32` state `{batch, heads, size, key size}`.

  Options:

    * `:state` - the state before the first step, default zeros
    * `:mask` - booleans `{batch, length}`; a step that is false changes nothing, and its output is 0

  Examples:

      iex> one = Mlx.ones({1, 1, 1, 2})
      iex> {outputs, state} = Mlx.Fast.gated_delta_update(one, one, one, Mlx.ones({1, 1, 1}), Mlx.ones({1, 1, 1}))
      iex> {Mlx.to_list(outputs), Mlx.to_list(state)}
      {[[[[2.0, 2.0]]]], [[[[1.0, 1.0], [1.0, 1.0]]]]}

  Source: Yang et al., "Gated Delta Networks" (2024). Python: `mlx.core.fast.gated_delta_update`.
  """
  @spec gated_delta_update(Array.t(), Array.t(), Array.t(), Array.t(), Array.t(), keyword()) :: {Array.t(), Array.t()}
  def gated_delta_update(queries, keys, values, gates, beta, options \\ []) do
    [state, mask, stream] = Options.values(options, :"Fast.gated_delta_update", state: nil, mask: nil)
    [outputs, state] = Native.fast_gated_delta_update(queries, keys, values, gates, beta, state, mask, stream)
    {outputs, state}
  end

  @doc """
  Rotary positional encoding of an array `{batch, ..., length, features}`.

  Each pair of the first `dimensions` features is rotated by an angle that grows with the position.

  Options:

    * `:traditional` - pair neighbouring features, and not those of the two halves; default false
    * `:base` - of the angular frequencies, default 10000
    * `:freqs` - the frequencies themselves, an array with one a pair, in place of `:base`
    * `:scale` - a factor of the positions, default 1
    * `:offset` - the position of the first element: an integer, a 0-d array, or an array with one a batch entry;
      default 0

  Examples:

      iex> x = Mlx.ones({1, 2, 4})
      iex> Mlx.Fast.rope(x, 4)[[0, 0]] |> Mlx.to_list()
      [1.0, 1.0, 1.0, 1.0]

      iex> x = Mlx.ones({1, 2, 4})
      iex> Mlx.all_close(Mlx.Fast.rope(x, 4)[[0, 1]], Mlx.Fast.rope(x, 4, offset: 1)[[0, 0]]) |> Mlx.to_number()
      true

  Python: `mlx.core.fast.rope`.
  """
  @spec rope(Array.t(), pos_integer(), keyword()) :: Array.t()
  def rope(x, dimensions, options \\ []) do
    defaults = [traditional: false, base: nil, freqs: nil, scale: 1, offset: 0]
    [traditional, base, freqs, scale, offset, stream] = Options.values(options, :"Fast.rope", defaults)
    base = if is_nil(base) and is_nil(freqs), do: 10_000, else: base

    turned =
      if is_integer(offset),
        do: Native.fast_rope(x, dimensions, traditional, base, scale, offset, freqs, stream),
        else: Native.fast_rope_dynamic(x, dimensions, traditional, base, scale, offset, freqs, stream)

    case turned do
      %Array{type: :f64} ->
        options = [traditional: traditional, base: base, freqs: freqs, scale: scale, offset: offset]
        in_double(stream, fn -> Fast.DoublePrecision.rope(x, dimensions, options) end)

      turned ->
        turned
    end
  end

  @doc """
  Attention: `softmax(scale * queries @ transpose(keys) + mask) @ values`.

  The arrays have the shape `{batch, heads, length, features}`. Keys and values may have fewer heads, which then serve
  groups of query heads (grouped and multi-query attention). The softmax is computed in `:f32`, and that of `:f64` in `:f64`.

  Options:

    * `:scale` - default `1 / sqrt(features)`
    * `:mask` - `:causal`, an array that is added to the scores, or a boolean array that is true where attention is
      allowed; arrays broadcast to `{batch, heads, query_length, key_length}`. Default `nil`
    * `:sinks` - an array with one attention sink for each head, default `nil`
    * `:force_fused` - raise rather than fall back to unfused operations, default false

  Examples:

      iex> q = Mlx.ones({1, 1, 2, 4})
      iex> v = Mlx.array([[[[1.0], [3.0]]]])
      iex> Mlx.Fast.scaled_dot_product_attention(q, q, v) |> Mlx.flatten() |> Mlx.to_list()
      [2.0, 2.0]
      iex> Mlx.Fast.scaled_dot_product_attention(q, q, v, mask: :causal) |> Mlx.flatten() |> Mlx.to_list()
      [1.0, 2.0]

  Python: `mlx.core.fast.scaled_dot_product_attention`.
  """
  @spec scaled_dot_product_attention(Array.t(), Array.t(), Array.t(), keyword()) :: Array.t()
  def scaled_dot_product_attention(queries, keys, values, options \\ []) do
    defaults = [scale: nil, mask: nil, sinks: nil, force_fused: false]
    function = :"Fast.scaled_dot_product_attention"
    [scale, mask, sinks, force_fused, stream] = Options.values(options, function, defaults)
    if match?(%Array{shape: {_, 0, _, _}}, keys), do: raise(ArgumentError, "Mlx.#{function}: the keys have no heads")
    scale = scale || default_scale(Operand.array!(queries, function).shape)
    {mode, array} = mask(mask)

    case Native.fast_scaled_dot_product_attention(queries, keys, values, scale, mode, array, sinks, force_fused, stream) do
      %Array{type: :f64} ->
        in_double(stream, fn -> Fast.DoublePrecision.attention(queries, keys, values, scale, mask, sinks) end)

      attention ->
        attention
    end
  end

  defp default_scale({_, _, _, features}) when features > 0, do: 1 / :math.sqrt(features)
  defp default_scale(_shape), do: 1.0

  defp mask(:causal), do: {"causal", nil}
  defp mask(mask) when is_nil(mask) or is_struct(mask, Array), do: {"", mask}

  defp mask(other) do
    raise ArgumentError,
          "Mlx.Fast.scaled_dot_product_attention: expected :mask to be :causal or an array, got: #{inspect(other)}"
  end

  @doc """
  The cross entropy of logits `{..., classes}` and class indices `{...}`: one loss for each, in `:f32`.

      iex> Mlx.Fast.cross_entropy(Mlx.array([[0.0, 0.0]]), Mlx.array([1])) |> Mlx.exp() |> Mlx.to_list()
      [2.0]

  Python: `mlx.core.fast.cross_entropy`.
  """
  @spec cross_entropy(Array.t(), Array.t(), keyword()) :: Array.t()
  def cross_entropy(logits, targets, options \\ []) do
    Native.fast_cross_entropy(logits, targets, Options.stream(options, :"Fast.cross_entropy"))
  end

  # For `:f64`, where MLX's own operation checks the arguments and has the digits of `:f32`.
  defp in_double(stream, fun), do: DoublePrecision.on(stream, fun)
end
