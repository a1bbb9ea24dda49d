defmodule Mlx.LM.Decoder.RoPE do
  @moduledoc """
  Rotary positions, in the kinds that configurations name:

  | kind | what it does |
  | --- | --- |
  | `default` | angles that grow with the position |
  | `linear` | positions divided by a factor |
  | `dynamic` | a base that grows with the length, beyond the length of the training |
  | `llama3` | long wavelengths stretched, short ones kept |
  | `yarn`, `deepseek_yarn`, `telechat3-yarn` | the same with another transition, and larger keys and queries |
  | `longrope`, `su` | each wavelength stretched by its own factor |
  | `proportional` | only the first pairs rotate |
  | `ntk_alpha` | a base that is larger by a power of `alpha` |
  | `reversed` | the other way round |
  | `mrope` | as `default`, for text |

  Python: `mlx_lm.models.rope_utils`.
  """

  alias Mlx.{Array, Fast}

  @enforce_keys [:dims]
  defstruct [:dims, traditional: false, base: 10_000.0, scale: 1.0, frequencies: nil, factor: 1.0, dynamic: nil]

  @type t :: %__MODULE__{
          dims: pos_integer(),
          traditional: boolean(),
          base: number(),
          scale: float(),
          frequencies: [float() | :infinity] | Array.t() | nil,
          factor: float(),
          dynamic: {number(), pos_integer()} | nil
        }

  @doc """
  The rotation of the first `dims` features.

  Options:

    * `:base` - of the angular frequencies, default 10000
    * `:traditional` - whether neighbouring features are pairs, default false
    * `:scaling` - `nil`, or what is special: a map with `:type`, one of the kinds above, and its settings, of which those
      that configurations name have the same names

  Examples:

      iex> Mlx.LM.Decoder.RoPE.new(8, scaling: %{type: "linear", factor: 4.0}).scale
      0.25
  """
  @spec new(pos_integer(), keyword()) :: t()
  def new(dims, options \\ []) do
    rope = %__MODULE__{dims: dims, base: options[:base] || 10_000.0, traditional: options[:traditional] || false}
    scaling = options[:scaling] || %{type: "default"}
    scaled(scaling.type, rope, scaling)
  end

  defp scaled(type, rope, _scaling) when type in ["default", "mrope"], do: rope
  defp scaled("reversed", rope, _scaling), do: %{rope | frequencies: Enum.map(wavelengths(rope), &(-&1))}
  defp scaled("linear", rope, %{factor: factor}), do: %{rope | scale: 1 / factor}
  defp scaled("dynamic", rope, %{factor: factor, max_position: longest}), do: %{rope | dynamic: {factor, longest}}

  defp scaled("ntk_alpha", rope, %{alpha: alpha}) do
    %{rope | base: rope.base * alpha ** (rope.dims / (rope.dims - 2))}
  end

  defp scaled("llama3", rope, scaling) do
    [low, high] = for factor <- [scaling.low_freq_factor, scaling.high_freq_factor], do: scaling.original / factor

    %{rope | frequencies: for(wave <- wavelengths(rope), do: llama3(wave, 2 * :math.pi() * wave, low, high, scaling))}
  end

  defp scaled(type, rope, scaling) when type in ["yarn", "deepseek_yarn", "telechat3-yarn"] do
    {low, high} = {yarn_bound(rope, scaling.beta_fast, scaling), yarn_bound(rope, scaling.beta_slow, scaling)}
    {low, high} = {max(Float.floor(low), 0), min(Float.ceil(high), rope.dims - 1)}
    high = if low == high, do: high + 0.001, else: high

    frequencies =
      for {wave, index} <- Enum.with_index(wavelengths(rope)) do
        kept = 1 - min(max((index - low) / (high - low), 0), 1)
        scaling.factor * wave * wave / (scaling.factor * wave * kept + wave * (1 - kept))
      end

    factor = yarn_scale(scaling.factor, scaling.mscale) / yarn_scale(scaling.factor, scaling.mscale_all_dim)
    %{rope | frequencies: frequencies, factor: factor}
  end

  defp scaled(type, rope, scaling) when type in ["longrope", "su"] do
    longer = scaling.max_position / scaling.original
    default = if longer <= 1, do: 1.0, else: :math.sqrt(1 + :math.log(longer) / :math.log(scaling.original))
    factor = scaling[:mscale] || default
    frequencies = Enum.zip_with(wavelengths(rope), scaling.long_factor, &(&1 * &2))
    %{rope | frequencies: frequencies, factor: factor}
  end

  defp scaled("proportional", rope, scaling) do
    rotated = trunc(rope.dims * scaling.partial_rotary_factor)

    frequencies =
      for pair <- 0..(div(rope.dims, 2) - 1) do
        if 2 * pair < rotated, do: scaling.factor * rope.base ** (2 * pair / rope.dims), else: :infinity
      end

    %{rope | frequencies: frequencies}
  end

  defp wavelengths(rope), do: for(pair <- 0..(div(rope.dims, 2) - 1), do: rope.base ** (2 * pair / rope.dims))

  # `wave` is the wavelength in positions, divided by 2 pi.
  defp llama3(wave, length, low, _high, scaling) when length > low, do: wave * scaling.factor

  defp llama3(wave, length, low, high, scaling) when length > high and length < low do
    smooth =
      (scaling.original / length - scaling.low_freq_factor) / (scaling.high_freq_factor - scaling.low_freq_factor)

    wave / ((1 - smooth) / scaling.factor + smooth)
  end

  defp llama3(wave, _length, _low, _high, _scaling), do: wave

  defp yarn_bound(rope, rotations, scaling) do
    rope.dims * :math.log(scaling.original / (rotations * 2 * :math.pi())) / (2 * :math.log(rope.base))
  end

  defp yarn_scale(factor, _mscale) when factor <= 1, do: 1.0
  defp yarn_scale(factor, mscale), do: 0.1 * mscale * :math.log(factor) + 1.0

  @doc """
  The rotated array, for one `{batch, heads, length, features}` whose first position is `offset`: an integer, an array
  without axes, or an array `{batch}` with one for each row; or whose positions are `offset`, an array `{batch, length}`.

      iex> rope = Mlx.LM.Decoder.RoPE.new(4)
      iex> x = Mlx.ones({1, 1, 2, 4})
      iex> Mlx.LM.Decoder.RoPE.call(rope, x, 3).shape
      {1, 1, 2, 4}
  """
  @spec call(t(), Array.t(), non_neg_integer() | Array.t()) :: Array.t()
  # The angles of each row are its own.
  def call(%__MODULE__{dynamic: {_factor, _longest}} = rope, x, %Array{shape: {batch}} = offset) do
    [rows, offsets] = for array <- [x, offset], do: Mlx.split(array, batch)
    Mlx.concatenate(Enum.zip_with(rows, offsets, &call(rope, &1, Mlx.squeeze(&2, axes: [0]))))
  end

  # Each position is a row of its own.
  def call(%__MODULE__{} = rope, %Array{shape: {batch, heads, length, size}} = x, %Array{shape: {_, _}} = offset) do
    x
    |> Mlx.swap_axes(1, 2)
    |> Mlx.reshape({batch * length, heads, 1, size})
    |> then(&call(rope, &1, Mlx.reshape(offset, {batch * length})))
    |> Mlx.reshape({batch, length, heads, size})
    |> Mlx.swap_axes(1, 2)
  end

  def call(%__MODULE__{} = rope, x, offset) do
    x = larger(rope, x)
    Fast.rope(x, rope.dims, [traditional: rope.traditional, offset: offset] ++ angles(rope, x, offset))
  end

  defp larger(%__MODULE__{factor: 1.0}, x), do: x

  defp larger(%__MODULE__{factor: factor, dims: dims}, %Array{shape: {_, _, _, dims}} = x), do: Mlx.multiply(x, factor)

  defp larger(%__MODULE__{factor: factor, dims: dims}, x) do
    [rotated, kept] = Mlx.split(x, [dims], axis: -1)
    Mlx.concatenate([Mlx.multiply(rotated, factor), kept], axis: -1)
  end

  defp angles(%__MODULE__{dynamic: {factor, longest}, base: base, dims: dims}, x, offset) do
    length = Mlx.max(Mlx.add(offset, Mlx.axis_size(x, 2)), longest)
    growth = Mlx.subtract(Mlx.multiply(length, factor / longest), factor - 1)
    base = Mlx.multiply(Mlx.pow(growth, dims / (dims - 2)), base)
    [freqs: Mlx.pow(base, Mlx.divide(Mlx.arange(0, dims, 2, type: :f32), dims))]
  end

  defp angles(%__MODULE__{frequencies: %Array{} = frequencies}, _x, _offset), do: [freqs: frequencies]

  defp angles(%__MODULE__{frequencies: [_ | _] = frequencies}, _x, _offset) do
    [freqs: Mlx.array(frequencies, type: :f32)]
  end

  defp angles(%__MODULE__{base: base, scale: scale}, _x, _offset), do: [base: base, scale: scale]
end
