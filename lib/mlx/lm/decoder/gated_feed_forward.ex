defmodule Mlx.LM.Decoder.GatedFeedForward do
  @moduledoc """
  A gated feed-forward layer: `y = down_proj(activation(gate_proj(x)) * up_proj(x))`.

  The matrices of the gate and the other factor are in `gate_up_proj` in place of the two when they are joined, in a file
  or by `join/1`.
  """

  alias Mlx.{Array, NN}
  alias Mlx.Arguments.Options
  alias Mlx.LM.Activation
  alias Mlx.LM.Decoder.{Joined, Parameter}

  @derive NN.Layer
  defstruct [:gate_proj, :up_proj, :gate_up_proj, :down_proj, :norm, :activation]

  @type t :: %__MODULE__{}

  @doc """
  A layer with zeros for arrays. Options: `:width`, `:hidden`, `:bias` (default false), `:activation` (default `"silu"`),
  `:norm`, a normalisation before `down_proj`, such as `{:rms, 1.0e-6}` (default `nil`), and `:joined`, whether a file holds
  the gate and the other factor as one matrix (default false).
  """
  @spec new(keyword()) :: t()
  def new(options) do
    defaults = [width: nil, hidden: nil, bias: false, activation: "silu", norm: nil, joined: false]

    [width, hidden, bias, activation, norm, joined] =
      Options.without_stream(options, :"LM.Decoder.GatedFeedForward.new", defaults)

    inputs =
      if joined,
        do: [gate_up_proj: Parameter.linear(width, 2 * hidden, bias)],
        else: for(name <- [:gate_proj, :up_proj], do: {name, Parameter.linear(width, hidden, bias)})

    norm = norm && Parameter.norm(norm, hidden)

    struct!(
      __MODULE__,
      [down_proj: Parameter.linear(hidden, width, bias), norm: norm, activation: activation] ++ inputs
    )
  end

  @doc "The outputs for `x`, `{..., width}`."
  @spec call(t(), Array.t()) :: Array.t()
  def call(%__MODULE__{} = layer, x) do
    {gate, up} = factors(layer, x)
    y = Activation.gate(layer.activation, gate, up)
    NN.Layer.call(layer.down_proj, if(layer.norm, do: NN.Layer.call(layer.norm, y), else: y))
  end

  defp factors(%__MODULE__{gate_up_proj: nil} = layer, x) do
    {NN.Layer.call(layer.gate_proj, x), NN.Layer.call(layer.up_proj, x)}
  end

  defp factors(%__MODULE__{gate_up_proj: joined}, x) do
    [gate, up] = joined |> NN.Layer.call(x) |> Mlx.split(2, axis: -1)
    {gate, up}
  end

  @doc "The layer with joined matrices, where they can be."
  @spec join(t()) :: t()
  def join(%__MODULE__{gate_up_proj: nil} = layer) do
    case Joined.linear([layer.gate_proj, layer.up_proj]) do
      nil -> layer
      joined -> %{layer | gate_proj: nil, up_proj: nil, gate_up_proj: joined}
    end
  end

  def join(layer), do: layer
end
