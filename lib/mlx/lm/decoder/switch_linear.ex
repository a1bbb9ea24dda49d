defmodule Mlx.LM.Decoder.SwitchLinear do
  @moduledoc """
  The linear layers of several experts, of which each row of an input takes one.

  | parameter | shape |
  | --- | --- |
  | `weight` | `{experts, outputs, inputs}` |
  | `bias` | `{experts, outputs}`, or `nil` |
  """

  alias Mlx.Array
  alias Mlx.LM.Decoder.Parameter

  @enforce_keys [:weight, :bias]
  defstruct @enforce_keys

  @type t :: %__MODULE__{weight: Array.t(), bias: Array.t() | nil}

  @doc "Layers with zeros for arrays."
  @spec new(pos_integer(), pos_integer(), pos_integer(), boolean()) :: t()
  def new(experts, inputs, outputs, bias) do
    %__MODULE__{
      weight: Parameter.zeros({experts, outputs, inputs}),
      bias: if(bias, do: Parameter.zeros({experts, outputs}))
    }
  end

  @doc """
  The outputs `{..., 1, outputs}` for `x`, `{..., 1, inputs}`, where `experts`, `{...}`, says which expert each row takes.
  `sorted` promises that they are sorted.
  """
  @spec call(t(), Array.t(), Array.t(), boolean()) :: Array.t()
  def call(%__MODULE__{weight: weight, bias: bias}, x, experts, sorted) do
    x |> Mlx.gather_mm(Mlx.matrix_transpose(weight), right_indices: experts, sorted: sorted) |> biased(bias, experts)
  end

  @doc false
  def biased(y, nil, _experts), do: y
  def biased(y, bias, experts), do: Mlx.add(y, bias |> Mlx.take(experts, axis: 0) |> Mlx.new_axis(-2))
end
