defmodule Mlx.LM.Decoder.GatedFeedForward do
  @moduledoc """
  A gated feed-forward layer: `y = down_proj(activation(gate_proj(x)) * up_proj(x))`.

  The matrices of the gate and the other factor are in `gate_up_proj` in place of the two when they are joined, in a file
  or by `join/1`.
  """

  alias Mlx.{Array, NN}
  alias Mlx.Arguments.Options
  alias Mlx.LM.Decoder.{Activation, Joined, Parameter}

  @derive NN.Layer
  defstruct [:gate_proj, :up_proj, :gate_up_proj, :down_proj, :activation]

  @type t :: %__MODULE__{}

  @doc """
  A layer with zeros for arrays. Options: `:width`, `:hidden`, `:bias` (default false), `:activation` (default `"silu"`),
  and `:joined`, whether a file holds the gate and the other factor as one matrix (default false).
  """
  @spec new(keyword()) :: t()
  def new(options) do
    defaults = [width: nil, hidden: nil, bias: false, activation: "silu", joined: false]

    [width, hidden, bias, activation, joined] =
      Options.without_stream(options, :"LM.Decoder.GatedFeedForward.new", defaults)

    inputs =
      if joined,
        do: [gate_up_proj: Parameter.linear(width, 2 * hidden, bias)],
        else: for(name <- [:gate_proj, :up_proj], do: {name, Parameter.linear(width, hidden, bias)})

    struct!(__MODULE__, [down_proj: Parameter.linear(hidden, width, bias), activation: activation] ++ inputs)
  end

  @doc "The outputs for `x`, `{..., width}`."
  @spec call(t(), Array.t()) :: Array.t()
  def call(%__MODULE__{} = layer, x) do
    {gate, up} = factors(layer, x)
    NN.Layer.call(layer.down_proj, Activation.gate(layer.activation, gate, up))
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
